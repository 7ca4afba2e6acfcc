#include "image/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <thread>

#include "base/error.h"
#include "image/file_io.h"

namespace torpor::image {

namespace {

// The directory may have been renamed or removed between opening and locking it.
bool is_still_there(int fd, const std::filesystem::path& path) {
  struct stat mine {};
  struct stat there {};
  return ::fstat(fd, &mine) == 0 && ::stat(path.c_str(), &there) == 0 &&
         mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

enum class Attempt { locked, busy, moved };

Attempt try_lock(int fd, int operation, const std::filesystem::path& path) {
  if (::flock(fd, operation | LOCK_NB) == 0) {
    return is_still_there(fd, path) ? Attempt::locked : Attempt::moved;
  }
  if (errno == EWOULDBLOCK || errno == EINTR) return Attempt::busy;
  base::throw_system("locking the directory {}", path.native());
}

}  // namespace

DirectoryLock DirectoryLock::shared(const std::filesystem::path& path,
                                    std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (true) {
    base::UniqueFd fd = open_directory(path);
    if (try_lock(fd.get(), LOCK_SH, path) == Attempt::locked) return DirectoryLock(std::move(fd));
    if (std::chrono::steady_clock::now() >= deadline) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  throw base::Error(base::ErrorCode::conflict,
                    fmt::format("the image {} is being written or removed", path.native()),
                    "wait for that to end, or choose another generation");
}

std::optional<DirectoryLock> DirectoryLock::try_exclusive(const std::filesystem::path& path) {
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) return std::nullopt;
  if (!fd) base::throw_system("opening the directory {}", path.native());
  if (try_lock(fd.get(), LOCK_EX, path) != Attempt::locked) return std::nullopt;
  return DirectoryLock(std::move(fd));
}

void DirectoryLock::share() { ::flock(fd_.get(), LOCK_SH | LOCK_NB); }

}  // namespace torpor::image
