#include "agent/resident/program_file.h"

#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/elf.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "agent/resident/elf_file.h"
#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

constexpr std::int64_t kFaccessat2 = 439;  // Linux 5.8
constexpr std::uint64_t kHere = static_cast<std::uint64_t>(AT_FDCWD);
constexpr std::uint64_t kReadOnly = 02000000;    // O_RDONLY | O_CLOEXEC
constexpr std::uint64_t kExecutePermission = 1;  // X_OK

bool is_own_link(const char* path) {
  return same_text(path, "/proc/self/exe") || same_text(path, "/proc/thread-self/exe");
}

std::int64_t open_by_number(std::uint64_t descriptor) {
  char path[40];
  constexpr std::uint64_t kHead = 14;
  copy_bytes(path, "/proc/self/fd/", kHead);
  put_number(path + kHead, descriptor);
  return raw_syscall(__NR_open, address_of(&path[0]), kReadOnly, 0);
}

std::int64_t open_path(std::uint64_t directory, const char* path, std::uint64_t flags) {
  // The first byte is looked at by the kernel before us.
  const std::int64_t there = raw_syscall(kFaccessat2, directory, address_of(path), 0,
                                         flags & (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
  if (there == -EFAULT || there == -ENAMETOOLONG) return there;
  if (path[0] == '\0') {
    return (flags & AT_EMPTY_PATH) != 0 ? open_by_number(directory) : -ENOENT;
  }
  const char* name = is_own_link(path) ? resident().executable : path;
  const std::uint64_t no_link = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? 0400000 : 0;  // O_NOFOLLOW
  return raw_syscall(__NR_openat, directory, address_of(name), kReadOnly | no_link, 0);
}

bool is_regular(std::uint64_t descriptor) {
  struct statx facts {};
  constexpr std::uint64_t kFormat = 0170000;
  constexpr std::uint64_t kRegular = 0100000;
  const std::int64_t told = raw_syscall(__NR_statx, descriptor, address_of(""), AT_EMPTY_PATH,
                                        STATX_TYPE, address_of(&facts));
  return told < 0 || (facts.stx_mode & kFormat) == kRegular;
}

FileKind kind_of(const char* head, std::int64_t bytes) {
  if (bytes >= 2 && head[0] == '#' && head[1] == '!') return FileKind::script;
  if (bytes < static_cast<std::int64_t>(sizeof(Elf64_Ehdr))) return FileKind::other;
  return is_loadable(*reinterpret_cast<const Elf64_Ehdr*>(head)) ? FileKind::ours : FileKind::other;
}

std::int64_t look_at(ProgramFile& file) {
  const auto fd = static_cast<std::uint64_t>(file.descriptor);
  if (!is_regular(fd)) return -EACCES;
  const std::int64_t allowed = raw_syscall(kFaccessat2, fd, address_of(""), kExecutePermission,
                                           AT_EMPTY_PATH | 0x200 /* AT_EACCESS */);
  if (allowed == -EACCES) return allowed;
  const std::int64_t got =
      raw_syscall(__NR_pread64, fd, address_of(&file.head[0]), ProgramFile::kHeadBytes, 0);
  if (got < 0) return got;
  file.head[got] = '\0';
  file.kind = kind_of(file.head, got);
  return 0;
}

bool is_blank(char c) { return c == ' ' || c == '\t'; }

}  // namespace

std::int64_t open_program(ProgramFile& file, std::uint64_t directory, const char* path,
                          std::uint64_t flags) {
  file.descriptor = open_path(directory, path, flags);
  if (file.descriptor < 0) return file.descriptor;
  const std::int64_t looked = look_at(file);
  if (looked < 0) raw_syscall(__NR_close, static_cast<std::uint64_t>(file.descriptor));
  return looked;
}

std::int64_t check_interpreter(const ProgramFile& file) {
  char path[kInterpreterBytes];
  const std::int64_t length =
      read_interpreter(static_cast<std::uint64_t>(file.descriptor),
                       *reinterpret_cast<const Elf64_Ehdr*>(file.head), path);
  if (length <= 0) return length;
  return raw_syscall(__NR_faccessat, kHere, address_of(&path[0]), kExecutePermission);
}

// As the kernel does: the rest of the line is one argument.
bool read_script_line(ProgramFile& file, ScriptLine& line) {
  char* at = file.head + 2;
  while (is_blank(*at)) ++at;
  char* end = at;
  while (*end != '\0' && *end != '\n') ++end;
  *end = '\0';
  while (end > at && is_blank(end[-1])) *--end = '\0';
  if (at == end) return false;
  line.interpreter = at;
  while (*at != '\0' && !is_blank(*at)) ++at;
  if (*at == '\0') return true;
  *at++ = '\0';
  while (is_blank(*at)) ++at;
  line.argument = at;
  return true;
}

}  // namespace torpor::agent
