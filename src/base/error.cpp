#include "base/error.h"

#include <array>

namespace torpor::base {

std::string_view error_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::usage: return "usage";
    case ErrorCode::refused: return "refused";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::permission: return "permission";
    case ErrorCode::bad_image: return "bad_image";
    case ErrorCode::io: return "io";
    case ErrorCode::host_lacks: return "host_lacks";
    case ErrorCode::program_gone: return "program_gone";
    case ErrorCode::conflict: return "conflict";
    case ErrorCode::timeout: return "timeout";
    case ErrorCode::internal: return "internal";
  }
  return "internal";
}

ErrorCode code_for_errno(int error) {
  switch (error) {
    case EPERM:
    case EACCES: return ErrorCode::permission;
    case ESRCH:
    case ECHILD: return ErrorCode::program_gone;
    case ENOENT: return ErrorCode::not_found;
    case EEXIST:
    case EBUSY: return ErrorCode::conflict;
    case ETIMEDOUT: return ErrorCode::timeout;
    case ENOSYS: return ErrorCode::host_lacks;
    default: return ErrorCode::io;
  }
}

namespace {

std::string_view remedy_for_errno(int error) {
  switch (error) {
    case ENOSPC: return "free space on that file system, or choose another directory with --dir";
    case EDQUOT: return "your disk quota is used up: free space or choose another directory";
    case EFBIG: return "raise the limit of file sizes (ulimit -f)";
    case EMFILE: return "raise the limit of open files (ulimit -n)";
    case ENOMEM: return "free memory, or raise the memory limit of this session";
    default: return {};
  }
}

}  // namespace

void throw_errno(int error, std::string_view what) {
  std::array<char, 128> text{};
  const char* reason = ::strerror_r(error, text.data(), text.size());
  throw Error(code_for_errno(error), fmt::format("{}: {}", what, reason),
              std::string(remedy_for_errno(error)));
}

void throw_host_lacks(int error, std::string_view what, std::string_view remedy) {
  std::array<char, 128> text{};
  const char* reason = ::strerror_r(error, text.data(), text.size());
  throw Error(ErrorCode::host_lacks, fmt::format("{}: {}", what, reason), std::string(remedy));
}

}  // namespace torpor::base
