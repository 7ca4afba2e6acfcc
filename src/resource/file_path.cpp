#include "resource/file_path.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace torpor::resource {
namespace {

constexpr std::string_view kDeleted = " (deleted)";
constexpr std::uint32_t kMessageQueues = 0x19800202;  // MQUEUE_MAGIC, not in linux/magic.h

bool leads_to(const std::string& path, const struct ::stat& status) {
  struct ::stat now {};
  return ::lstat(path.c_str(), &now) == 0 && now.st_dev == status.st_dev &&
         now.st_ino == status.st_ino;
}

// The name that the directory has for an inode, or "".
std::string name_in(const std::string& directory, const struct ::stat& status) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
  if (!dir) return {};
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string path = directory + (directory.back() == '/' ? "" : "/") + entry->d_name;
    if (entry->d_ino == status.st_ino && leads_to(path, status)) return path;
  }
  return {};
}

std::string directory_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

const char* type_name(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "a regular file";
    case S_IFDIR: return "a directory";
    case S_IFLNK: return "a symbolic link";
    case S_IFCHR: return "a character device";
    case S_IFBLK: return "a block device";
    case S_IFIFO: return "a named pipe";
    case S_IFSOCK: return "a socket";
    default: return "something else";
  }
}

int access_wanted(std::uint32_t flags) {
  if ((flags & O_PATH) != 0) return F_OK;
  switch (flags & O_ACCMODE) {
    case O_RDONLY: return R_OK;
    case O_WRONLY: return W_OK;
    default: return R_OK | W_OK;
  }
}

}  // namespace

std::string_view without_deleted(std::string_view target) {
  return target.ends_with(kDeleted) ? target.substr(0, target.size() - kDeleted.size()) : target;
}

FoundPath find_path(const FileView& view) {
  if (leads_to(view.target, view.status)) return {view.target, {}};
  const std::string former(without_deleted(view.target));
  if (!former.starts_with('/')) return {{}, Refusal{"it has no path", "close it before"}};
  if (leads_to(former, view.status)) return {former, {}};
  if (std::string found = name_in(directory_of(former), view.status); !found.empty()) {
    return {std::move(found), {}};
  }
  if (leads_to(fmt::format("/proc/{}/root{}", view.pid, former), view.status)) {
    return {former, Refusal{"it lies in a mount namespace of the program's own",
                            "run the program where it sees the same files as torpor"}};
  }
  return {former, Refusal{"its path leads elsewhere now, though the file has a name somewhere",
                          fmt::format("give it a name in {} again", directory_of(former))}};
}

bool is_unlinked(const FileView& view) {
  return view.status.st_nlink == 0 && !leads_to(view.target, view.status);
}

std::uint32_t file_system_of(const FileView& view) {
  if (gnu_dev_major(view.status.st_dev) != 0) return 0;
  struct ::statfs info {};
  if (::statfs(view.link().c_str(), &info) != 0) {
    base::throw_system("process {}: cannot look at {}", view.pid, view.describe());
  }
  return static_cast<std::uint32_t>(info.f_type);
}

bool is_kernels_own(const FileView& view) {
  static constexpr std::array kMagics{static_cast<std::uint32_t>(PROC_SUPER_MAGIC),
                                      static_cast<std::uint32_t>(SYSFS_MAGIC),
                                      static_cast<std::uint32_t>(CGROUP_SUPER_MAGIC),
                                      static_cast<std::uint32_t>(CGROUP2_SUPER_MAGIC)};
  if (!view.target.starts_with('/') ||
      (!S_ISREG(view.status.st_mode) && !S_ISDIR(view.status.st_mode))) {
    return false;
  }
  return std::ranges::find(kMagics, file_system_of(view)) != kMagics.end();
}

bool is_ordinary(const FileView& view) {
  static constexpr std::array kMagics{kMessageQueues, static_cast<std::uint32_t>(NSFS_MAGIC),
                                      static_cast<std::uint32_t>(SECRETMEM_MAGIC),
                                      static_cast<std::uint32_t>(ANON_INODE_FS_MAGIC)};
  if (!view.target.starts_with('/') || is_kernels_own(view)) return false;
  return std::ranges::find(kMagics, file_system_of(view)) == kMagics.end();
}

int reopening_flags(const snapshot::OpenFile& file) {
  constexpr int kKept = O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DIRECT | O_DIRECTORY |
                        O_NOFOLLOW | O_NOATIME | O_PATH;
  const int flags = static_cast<int>(file.flags());
  // O_TMPFILE contains O_DIRECTORY, and stays with the nameless file that was made with it.
  const int kept = (flags & O_TMPFILE) == O_TMPFILE ? kKept & ~O_DIRECTORY : kKept;
  return (flags & kept) | O_CLOEXEC | O_NOCTTY;
}

base::UniqueFd reopen(const std::string& path, const snapshot::OpenFile& file,
                      RestoreState& state) {
  int flags = reopening_flags(file);
  base::UniqueFd fd(::open(path.c_str(), flags));
  const int optional = errno == EPERM ? O_NOATIME : (errno == EINVAL ? O_DIRECT : 0);
  if (!fd && (flags & optional) != 0) {
    flags &= ~optional;
    fd.reset(::open(path.c_str(), flags));
    state.warnings.push_back(fmt::format("{} is opened without {}, which is refused here", path,
                                         optional == O_DIRECT ? "O_DIRECT" : "O_NOATIME"));
  }
  if (!fd) base::throw_system("cannot open {}", path);
  return fd;
}

base::UniqueFd reopen_descriptor(int fd, const snapshot::OpenFile& file, RestoreState& state) {
  snapshot::OpenFile followed = file;
  followed.set_flags(file.flags() & ~static_cast<std::uint32_t>(O_NOFOLLOW));
  return reopen(fmt::format("/proc/self/fd/{}", fd), followed, state);
}

std::optional<Refusal> check_path(const snapshot::OpenFile& file,
                                  const snapshot::FileFacts& facts) {
  struct ::stat now {};
  const std::string& path = file.path();
  if (::lstat(path.c_str(), &now) != 0) {
    return Refusal{fmt::format("{}: {}", path, std::strerror(errno)),
                   "put it back where it was when the checkpoint was taken"};
  }
  if ((now.st_mode & S_IFMT) != (facts.mode() & S_IFMT)) {
    return Refusal{
        fmt::format("{} is {}, it was {}", path, type_name(now.st_mode), type_name(facts.mode())),
        "put back what was there when the checkpoint was taken"};
  }
  if (::faccessat(AT_FDCWD, path.c_str(), access_wanted(file.flags()),
                  AT_EACCESS | AT_SYMLINK_NOFOLLOW) != 0) {
    return Refusal{fmt::format("{}: {}", path, std::strerror(errno)),
                   "restart as a user who may open it as the program did"};
  }
  return std::nullopt;
}

}  // namespace torpor::resource
