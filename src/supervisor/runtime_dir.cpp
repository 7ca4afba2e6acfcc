#include "supervisor/runtime_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "image/store.h"

namespace torpor::supervisor {
namespace {

constexpr std::string_view socket_suffix = ".sock";

bool is_our_directory(const std::filesystem::path& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode) && facts.st_uid == ::geteuid();
}

void check_name_length(const std::string& name) {
  image::check_name(name);
  if (name.size() <= max_name_length) return;
  throw base::Error(
      base::ErrorCode::usage,
      fmt::format("the name '{}' is longer than {} characters", name, max_name_length),
      "choose a shorter one with --name");
}

// Whether the file that is open is still the one of that name: its last owner may have removed it.
bool is_linked(int directory_fd, const std::string& file, int fd) {
  struct stat named {};
  struct stat opened {};
  return ::fstatat(directory_fd, file.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         ::fstat(fd, &opened) == 0 && named.st_ino == opened.st_ino &&
         named.st_dev == opened.st_dev;
}

}  // namespace

std::filesystem::path runtime_directory() {
  const char* given = ::secure_getenv("XDG_RUNTIME_DIR");
  if (given != nullptr && given[0] == '/' && is_our_directory(given)) {
    return std::filesystem::path(given) / "torpor";
  }
  return fmt::format("/tmp/torpor-{}", ::geteuid());
}

base::UniqueFd open_runtime_directory(const std::filesystem::path& path) {
  if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) {
    base::throw_system("cannot make the directory {}", path.string());
  }
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) base::throw_system("cannot open the directory {}", path.string());
  struct stat facts {};
  if (::fstat(fd.get(), &facts) < 0) base::throw_system("cannot look at {}", path.string());
  if (facts.st_uid != ::geteuid() || (facts.st_mode & 077) != 0) {
    throw base::Error(base::ErrorCode::permission,
                      fmt::format("{} is not a directory of yours alone (owner {}, mode {:o})",
                                  path.string(), facts.st_uid, facts.st_mode & 07777),
                      "remove it, or set XDG_RUNTIME_DIR to a directory of yours");
  }
  return fd;
}

std::vector<std::string> socket_names(const std::filesystem::path& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == socket_suffix) names.push_back(entry->path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

std::string socket_address(int directory_fd, std::string_view name) {
  return fmt::format("/proc/self/fd/{}/{}{}", directory_fd, name, socket_suffix);
}

NameClaim::NameClaim(base::UniqueFd directory, base::UniqueFd lock, std::string name)
    : directory_(std::move(directory)), lock_(std::move(lock)), name_(std::move(name)) {}

NameClaim::~NameClaim() {
  if (!directory_) return;
  ::unlinkat(directory_.get(), fmt::format("{}{}", name_, socket_suffix).c_str(), 0);
  ::unlinkat(directory_.get(), fmt::format("{}.lock", name_).c_str(), 0);
}

std::string NameClaim::socket_address() const {
  return supervisor::socket_address(directory_.get(), name_);
}

// Nothing if somebody else has it.
base::UniqueFd NameClaim::try_lock(int directory_fd, const std::string& name) {
  const std::string file = name + ".lock";
  while (true) {
    base::UniqueFd fd(
        ::openat(directory_fd, file.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) base::throw_system("cannot open the lock of the name '{}'", name);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) {
      if (errno == EWOULDBLOCK) return {};
      base::throw_system("cannot lock the name '{}'", name);
    }
    if (!is_linked(directory_fd, file, fd.get())) continue;
    ::unlinkat(directory_fd, fmt::format("{}{}", name, socket_suffix).c_str(), 0);
    return fd;
  }
}

NameClaim NameClaim::exactly(const std::filesystem::path& directory, const std::string& name) {
  check_name_length(name);
  base::UniqueFd fd = open_runtime_directory(directory);
  base::UniqueFd lock = try_lock(fd.get(), name);
  if (!lock) {
    throw base::Error(base::ErrorCode::conflict,
                      fmt::format("a computation named '{}' is running already", name),
                      "see `torpor ps`; choose another name, or end that one first");
  }
  return {std::move(fd), std::move(lock), name};
}

NameClaim NameClaim::unique(const std::filesystem::path& directory, const std::string& base,
                            const std::vector<std::string>& avoid) {
  check_name_length(base);
  base::UniqueFd fd = open_runtime_directory(directory);
  std::string name = base;
  for (unsigned number = 2;; ++number) {
    if (std::ranges::find(avoid, name) == avoid.end()) {
      base::UniqueFd lock = try_lock(fd.get(), name);
      if (lock) return {std::move(fd), std::move(lock), std::move(name)};
    }
    name = fmt::format("{}-{}", base, number);
  }
}

}  // namespace torpor::supervisor
