#include "image/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <climits>
#include <ctime>

namespace torpor::image {

std::string path_of_fd(int fd) {
  std::array<char, PATH_MAX> target{};
  const ssize_t length =
      ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), target.data(), target.size());
  if (length <= 0) return fmt::format("fd {}", fd);
  return {target.data(), static_cast<std::size_t>(length)};
}

namespace {

std::string_view remedy_for_write(int error) {
  switch (error) {
    case ENOSPC: return "free space on that file system, or choose another directory with --dir";
    case EDQUOT: return "your disk quota is used up: free space, or choose another directory";
    case EFBIG: return "raise the limit of file sizes (ulimit -f), or choose another file system";
    case EROFS: return "that file system is read-only: choose another directory with --dir";
    case EMFILE: return "raise the limit of open files (ulimit -n)";
    case EACCES:
    case EPERM: return "choose a directory that you may write to with --dir";
    case EIO:
      return "the disk reports an error: choose another directory, and look after that disk";
    default: return {};
  }
}

}  // namespace

void throw_write_error(int error, std::string_view what) {
  std::array<char, 128> text{};
  const char* reason = ::strerror_r(error, text.data(), text.size());
  throw base::Error(base::ErrorCode::io, fmt::format("{}: {}", what, reason),
                    std::string(remedy_for_write(error)));
}

void throw_bad_image(const std::string& name, std::string_view problem) {
  throw base::Error(base::ErrorCode::bad_image, fmt::format("{}: {}", name, problem),
                    "use an earlier generation of this computation, or another copy of the image");
}

base::UniqueFd create_file(int directory_fd, const std::string& name, int more_flags) {
  const int fd = ::openat(directory_fd, name.c_str(),
                          O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | more_flags, 0600);
  if (fd < 0) {
    throw_write_error(errno, fmt::format("creating {}/{}", path_of_fd(directory_fd), name));
  }
  return base::UniqueFd(fd);
}

base::UniqueFd open_directory(const std::filesystem::path& path) {
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) base::throw_system("opening the directory {}", path.native());
  return fd;
}

void write_all(int fd, std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      throw_write_error(n < 0 ? errno : EIO, fmt::format("writing {} bytes at {} of {}",
                                                         bytes.size(), offset, path_of_fd(fd)));
    }
    offset += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void sync(int fd) {
  if (::fsync(fd) != 0) {
    throw_write_error(errno, fmt::format("bringing {} to disk", path_of_fd(fd)));
  }
}

std::uint64_t size_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) base::throw_system("looking at {}", path_of_fd(fd));
  return static_cast<std::uint64_t>(status.st_size);
}

void read_exactly(int fd, std::uint64_t offset, std::span<std::byte> into,
                  const std::string& name) {
  while (!into.empty()) {
    const ssize_t n = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::throw_system("reading {} bytes at {} of {}", into.size(), offset, name);
    if (n == 0) {
      throw_bad_image(
          name, fmt::format("truncated: it ends at {}, {} bytes too early", offset, into.size()));
    }
    offset += static_cast<std::uint64_t>(n);
    into = into.subspan(static_cast<std::size_t>(n));
  }
}

std::vector<std::byte> read_whole(int fd, const std::string& name) {
  std::vector<std::byte> bytes(size_of(fd));
  read_exactly(fd, 0, bytes, name);
  return bytes;
}

void make_directories(const std::filesystem::path& path) {
  std::error_code unknown;
  if (path.empty() || std::filesystem::is_directory(path, unknown)) return;
  const std::filesystem::path parent = path.parent_path();
  make_directories(parent);
  if (::mkdir(path.c_str(), 0700) != 0) {
    const int error = errno;
    if (error == EEXIST && std::filesystem::is_directory(path, unknown))
      return;  // somebody was faster
    throw_write_error(error, fmt::format("creating the directory {}", path.native()));
  }
  sync(open_directory(parent.empty() ? "." : parent).get());
}

namespace {

sigset_t file_size_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  return set;
}

bool file_size_signal_is_pending() {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGXFSZ) == 1;
}

}  // namespace

FileSizeSignalGuard::FileSizeSignalGuard() : was_pending_(file_size_signal_is_pending()) {
  const sigset_t set = file_size_signal();
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
}

FileSizeSignalGuard::~FileSizeSignalGuard() {
  if (!was_pending_ && file_size_signal_is_pending()) {
    const sigset_t set = file_size_signal();
    const timespec none{};
    ::sigtimedwait(&set, nullptr, &none);
  }
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace torpor::image
