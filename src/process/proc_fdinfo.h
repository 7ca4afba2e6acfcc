// The descriptors of a process: /proc/PID/fd and /proc/PID/fdinfo (proc_pid_fdinfo(5)).
//
// The forms with a tid ask that thread: needed for threads with a descriptor table of their own,
// and where the main thread has exited.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace torpor::process {

struct EventfdInfo {
  uint64_t count = 0;
  int id = -1;  // same in all descriptors of one eventfd; -1: not printed (before 5.2)
  std::optional<bool> semaphore;  // EFD_SEMAPHORE; printed since 6.5
};

struct TimerfdInfo {
  int clockid = 0;
  uint64_t ticks = 0;          // expirations not read yet
  uint32_t settime_flags = 0;  // TFD_TIMER_*
  timespec it_value{};         // time left, whatever settime_flags say; 0: disarmed
  timespec it_interval{};
};

// One target of an epoll set. `tfd` is the number under which it was added: the program may have
// closed or reused that number since. `sdev` is the kernel's own form: major << 20 | minor.
struct EpollItem {
  int tfd = -1;
  uint32_t events = 0;
  uint64_t data = 0;
  int64_t pos = 0;  // pos, ino, sdev: of the target, since 4.13
  uint64_t ino = 0;
  uint32_t sdev = 0;
};

struct InotifyWatch {
  int wd = 0;
  uint64_t ino = 0;
  uint32_t sdev = 0;  // major << 20 | minor
  uint32_t mask = 0;
  // For open_by_handle_at(2); not printed where the file system has no handles.
  uint32_t handle_type = 0;
  std::vector<uint8_t> handle;
};

struct PidfdInfo {
  pid_t pid = 0;             // -1: reaped; 0: outside of our pid namespace
  std::vector<pid_t> nspid;  // innermost last
};

struct FdInfo {
  int64_t pos = 0;
  uint32_t flags = 0;  // O_*; O_CLOEXEC is the descriptor's, the others are the description's
  int mnt_id = 0;
  uint64_t ino = 0;  // since 5.14, before 0
  std::optional<EventfdInfo> eventfd;
  std::optional<TimerfdInfo> timerfd;
  std::optional<uint64_t> signalfd_mask;  // bit n-1 is signal n
  std::vector<EpollItem> epoll;
  std::vector<InotifyWatch> inotify;
  std::optional<PidfdInfo> pidfd;
  std::optional<int> tty_index;     // ptmx: the number of its /dev/pts/N
  std::optional<uint32_t> scm_fds;  // unix sockets: descriptors in flight in the receive queue
  bool fanotify = false;
  bool io_uring = false;
  bool userfaultfd = false;
  std::vector<std::string> locks;  // "1: POSIX  ADVISORY  WRITE 77 fe:00:1234 0 EOF": proc_lock.h
};

// A closed fd is the error not_found.
FdInfo read_fdinfo(pid_t pid, int fd);
FdInfo read_fdinfo(pid_t pid, pid_t tid, int fd);

// Parses the text of a fdinfo file. `file` is for the message of an error.
FdInfo parse_fdinfo(std::string_view text, std::string_view file = "fdinfo");

// The open descriptors in ascending order. Empty in a zombie, and so in a main thread that has
// exited before others. Of the calling process, the descriptor used for looking is among them.
std::vector<int> list_fds(pid_t pid);
std::vector<int> list_fds(pid_t pid, pid_t tid);

// What the descriptor's link says: "/a/file", "/a/file (deleted)", "pipe:[4711]", "socket:[4712]",
// "anon_inode:[eventpoll]", "/memfd:name (deleted)" ... A closed fd is the error not_found.
std::string fd_target(pid_t pid, int fd);
std::string fd_target(pid_t pid, pid_t tid, int fd);

}  // namespace torpor::process
