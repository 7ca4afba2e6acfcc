// THE table of system calls (x86-64, up to Linux 6.18) that take or return the id of a process,
// thread, group or session, or a path by which /proc names one. From it come: the filter that leads
// these calls into the agent (id_filter.h), their translation (id_wrap.cpp), docs/pid-table.md
// (wrapped/id_page.cpp) and a test for each (id_calls_test.cpp). Freestanding.
//
// A row is a call, or a call with one of its commands. The first row that fits is the one that
// counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace torpor::agent {

// What an argument or a result is.
enum class Id : std::uint8_t {
  kNone,
  kProcess,  // of a process; 0: the caller, negative: not an id
  kThread,
  kGroup,
  kSession,
  kSigned,      // process; or a group, negated; 0 and -1 have meanings of their own
  kClock,       // clockid_t: that of a process or thread has its id in it
  kPath,        // path, relative to the working directory
  kPathAt,      // path, relative to the descriptor in the argument before
  kInfoIn,      // siginfo_t*
  kInfoOut,     // siginfo_t*, if not null
  kEventIn,     // struct sigevent*, with SIGEV_THREAD_ID
  kWordIn,      // int*
  kWordOut,     // int*
  kOwnerIn,     // struct f_owner_ex*
  kOwnerOut,    // struct f_owner_ex*
  kLockOut,     // struct flock*
  kSegmentOut,  // struct shmid_ds*
  kQueueOut,    // struct msqid_ds*
  kCapability,  // cap_user_header_t
  kPeer,        // struct ucred*, its length in the next argument
  kPidfdInfo,   // struct pidfd_info*
};

enum class How : std::uint8_t {
  kColumns,    // by what the columns say
  kFork,       // the child is adopted (id_table.h)
  kExit,       // its robust futexes are let go as the kernel would
  kWait,       // looks first, then reaps that very child, whose pair ends with it
  kSetsid,     // the new session is remembered
  kEverybody,  // kill(-1): everybody who is in the table
  kMessages,   // credentials in control messages (SCM_CREDENTIALS)
  kRead,       // signalfd_siginfo; led in only in processes that have a signalfd
  kListing,    // names in /proc and /proc/<id>/task
  kLink,       // what /proc/self, /proc/thread-self and links of /proc/<id> say
  kPriority,   // priority-inheriting futexes, whose words hold ids: done here, without the
               // inheritance
  kEvent,      // PTRACE_GETEVENTMSG: an id only after some events
  kPeek,       // PTRACE_PEEKSIGINFO: an array of siginfo_t
  kExec,       // the path, by what executes
  kOwner,      // F_GETOWN, whose result may be a group's id or an error: F_GETOWN_EX tells
  kHole,       // not translated; the note says why
  kNothing,    // takes or returns what looks like an id and needs no translation; the note says why
};

// When a row fits: (argument & mask) == value. Mask 0: always.
struct IdWhen {
  std::uint8_t argument = 0;
  std::uint32_t mask = 0;
  std::uint32_t value = 0;
};

struct IdCall {
  const char* name;
  std::uint16_t number;
  How how;
  IdWhen when;
  Id args[6];
  Id result;
  const char* note;
};

inline constexpr std::uint32_t kWhole = 0xffffffff;
inline constexpr IdWhen kAlwaysFits{};

// For calls whose paths are all there is, and which are many.
constexpr IdCall path_call(const char* name, std::uint16_t number, std::size_t argument,
                           Id kind = Id::kPath, std::size_t second = 6) {
  IdCall call{name, number, How::kColumns, kAlwaysFits, {}, Id::kNone, ""};
  call.args[argument] = kind;
  if (second < 6) call.args[second] = kind;
  return call;
}
constexpr IdCall hole(const char* name, std::uint16_t number, const char* why) {
  return {name, number, How::kHole, kAlwaysFits, {}, Id::kNone, why};
}
constexpr IdCall nothing(const char* name, std::uint16_t number, const char* why) {
  return {name, number, How::kNothing, kAlwaysFits, {}, Id::kNone, why};
}

namespace ids {
using enum Id;
using enum How;
// clang-format off
inline constexpr IdCall id_calls[] = {
  // Who am I
  {"getpid", 39, kColumns, {}, {}, kProcess, ""},
  {"gettid", 186, kColumns, {}, {}, kThread, ""},
  {"getppid", 110, kColumns, {}, {}, kProcess, ""},
  {"getpgrp", 111, kColumns, {}, {}, kGroup, ""},
  {"getpgid", 121, kColumns, {}, {kProcess}, kGroup, ""},
  {"getsid", 124, kColumns, {}, {kProcess}, kSession, ""},
  {"setpgid", 109, kColumns, {}, {kProcess, kGroup}, kNone, ""},
  {"setsid", 112, kSetsid, {}, {}, kSession, ""},
  {"set_tid_address", 218, kColumns, {}, {}, kThread, "what is cleared at the end is no id but 0"},
  // Birth and death
  {"fork", 57, kFork, {}, {}, kProcess, ""},
  {"vfork", 58, kFork, {}, {}, kProcess, ""},
  {"clone", 56, kFork, {}, {kNone, kNone, kWordOut, kWordOut}, kThread, "the id is also written for CLONE_PARENT_SETTID and CLONE_CHILD_SETTID"},
  hole("clone3", 435, "answered with ENOSYS in the wrapped mode, whereupon C libraries use clone; so is CLONE_PIDFD with set_tid"),
  {"wait4", 61, kWait, {}, {kSigned}, kProcess, ""},
  {"waitid P_PID", 247, kWait, {0, kWhole, 1}, {kNone, kProcess, kInfoOut}, kNone, ""},
  {"waitid P_PGID", 247, kWait, {0, kWhole, 2}, {kNone, kGroup, kInfoOut}, kNone, ""},
  {"waitid", 247, kWait, {}, {kNone, kNone, kInfoOut}, kNone, "P_ALL, P_PIDFD"},
  {"exit", 60, kExit, {}, {}, kNone, ""},
  {"exit_group", 231, kExit, {}, {}, kNone, ""},
  // Signals
  {"kill -1", 62, kEverybody, {0, kWhole, kWhole}, {}, kNone, "everybody of the computation, nobody else"},
  {"kill", 62, kColumns, {}, {kSigned}, kNone, ""},
  {"tkill", 200, kColumns, {}, {kThread}, kNone, ""},
  {"tgkill", 234, kColumns, {}, {kProcess, kThread}, kNone, ""},
  {"rt_sigqueueinfo", 129, kColumns, {}, {kProcess, kNone, kInfoIn}, kNone, ""},
  {"rt_tgsigqueueinfo", 297, kColumns, {}, {kProcess, kThread, kNone, kInfoIn}, kNone, ""},
  {"pidfd_send_signal", 424, kColumns, {}, {kNone, kNone, kInfoIn}, kNone, ""},
  {"rt_sigtimedwait", 128, kColumns, {}, {kNone, kInfoOut}, kNone, ""},
  {"rt_sigaction", 13, kNothing, {}, {}, kNone, "siginfo of handlers is translated by the trampoline through which they are called"},
  {"read", 0, kRead, {}, {}, kNone, "of a signalfd"},
  {"readv", 19, kRead, {}, {}, kNone, "of a signalfd"},
  hole("preadv2", 327, "of a signalfd, with the offset -1"),
  {"pidfd_open", 434, kColumns, {}, {kProcess}, kNone, ""},
  nothing("pidfd_getfd", 438, "the process is named by a pidfd"),
  nothing("process_madvise", 440, "the process is named by a pidfd"),
  nothing("process_mrelease", 448, "the process is named by a pidfd"),
  // Limits, scheduling, memory of others
  {"getpriority PRIO_PROCESS", 140, kColumns, {0, kWhole, 0}, {kNone, kProcess}, kNone, ""},
  {"getpriority PRIO_PGRP", 140, kColumns, {0, kWhole, 1}, {kNone, kGroup}, kNone, ""},
  {"setpriority PRIO_PROCESS", 141, kColumns, {0, kWhole, 0}, {kNone, kProcess}, kNone, ""},
  {"setpriority PRIO_PGRP", 141, kColumns, {0, kWhole, 1}, {kNone, kGroup}, kNone, ""},
  {"ioprio_set IOPRIO_WHO_PROCESS", 251, kColumns, {0, kWhole, 1}, {kNone, kProcess}, kNone, ""},
  {"ioprio_set IOPRIO_WHO_PGRP", 251, kColumns, {0, kWhole, 2}, {kNone, kGroup}, kNone, ""},
  {"ioprio_get IOPRIO_WHO_PROCESS", 252, kColumns, {0, kWhole, 1}, {kNone, kProcess}, kNone, ""},
  {"ioprio_get IOPRIO_WHO_PGRP", 252, kColumns, {0, kWhole, 2}, {kNone, kGroup}, kNone, ""},
  {"sched_setparam", 142, kColumns, {}, {kThread}, kNone, ""},
  {"sched_getparam", 143, kColumns, {}, {kThread}, kNone, ""},
  {"sched_setscheduler", 144, kColumns, {}, {kThread}, kNone, ""},
  {"sched_getscheduler", 145, kColumns, {}, {kThread}, kNone, ""},
  {"sched_rr_get_interval", 148, kColumns, {}, {kThread}, kNone, ""},
  {"sched_setaffinity", 203, kColumns, {}, {kThread}, kNone, ""},
  {"sched_getaffinity", 204, kColumns, {}, {kThread}, kNone, ""},
  {"sched_setattr", 314, kColumns, {}, {kThread}, kNone, ""},
  {"sched_getattr", 315, kColumns, {}, {kThread}, kNone, ""},
  {"prlimit64", 302, kColumns, {}, {kProcess}, kNone, ""},
  {"migrate_pages", 256, kColumns, {}, {kProcess}, kNone, ""},
  {"move_pages", 279, kColumns, {}, {kProcess}, kNone, ""},
  {"process_vm_readv", 310, kColumns, {}, {kProcess}, kNone, ""},
  {"process_vm_writev", 311, kColumns, {}, {kProcess}, kNone, ""},
  {"kcmp", 312, kColumns, {}, {kProcess, kProcess}, kNone, ""},
  {"perf_event_open", 298, kColumns, {4, 4, 0}, {kNone, kThread}, kNone, "without PERF_FLAG_PID_CGROUP"},
  {"capget", 125, kColumns, {}, {kCapability}, kNone, ""},
  {"capset", 126, kColumns, {}, {kCapability}, kNone, ""},
  {"prctl PR_SET_PTRACER", 157, kColumns, {0, kWhole, 0x59616d61}, {kNone, kProcess}, kNone, ""},
  {"prctl PR_SCHED_CORE", 157, kColumns, {0, kWhole, 62}, {kNone, kNone, kThread}, kNone, ""},
  // ptrace
  {"ptrace PTRACE_TRACEME", 101, kColumns, {0, kWhole, 0}, {}, kNone, "the other arguments are not looked at"},
  {"ptrace PTRACE_GETEVENTMSG", 101, kEvent, {0, kWhole, 0x4201}, {kNone, kThread}, kNone, ""},
  {"ptrace PTRACE_GETSIGINFO", 101, kColumns, {0, kWhole, 0x4202}, {kNone, kThread, kNone, kInfoOut}, kNone, ""},
  {"ptrace PTRACE_SETSIGINFO", 101, kColumns, {0, kWhole, 0x4203}, {kNone, kThread, kNone, kInfoIn}, kNone, ""},
  {"ptrace PTRACE_PEEKSIGINFO", 101, kPeek, {0, kWhole, 0x4209}, {kNone, kThread}, kNone, ""},
  {"ptrace", 101, kColumns, {}, {kNone, kThread}, kNone, "registers of a traced process that stands in a call are the kernel's; a tracer sees it stop for SIGSYS at each call that is led into the agent"},
  // Clocks
  {"clock_gettime", 228, kColumns, {0, 0x80000000, 0x80000000}, {kClock}, kNone, ""},
  {"clock_settime", 227, kColumns, {0, 0x80000000, 0x80000000}, {kClock}, kNone, ""},
  {"clock_getres", 229, kColumns, {0, 0x80000000, 0x80000000}, {kClock}, kNone, ""},
  {"clock_nanosleep", 230, kColumns, {0, 0x80000000, 0x80000000}, {kClock}, kNone, ""},
  {"clock_adjtime", 305, kColumns, {0, 0x80000000, 0x80000000}, {kClock}, kNone, ""},
  {"timer_create", 222, kColumns, {}, {kClock, kEventIn}, kNone, ""},
  // Futexes
  {"futex FUTEX_LOCK_PI", 202, kPriority, {1, 0x7f, 6}, {}, kNone, ""},
  {"futex FUTEX_UNLOCK_PI", 202, kPriority, {1, 0x7f, 7}, {}, kNone, ""},
  {"futex FUTEX_TRYLOCK_PI", 202, kPriority, {1, 0x7f, 8}, {}, kNone, ""},
  {"futex FUTEX_WAIT_REQUEUE_PI", 202, kHole, {1, 0x7f, 11}, {}, kNone, "no C library makes it any more"},
  {"futex FUTEX_CMP_REQUEUE_PI", 202, kHole, {1, 0x7f, 12}, {}, kNone, "no C library makes it any more"},
  {"futex FUTEX_LOCK_PI2", 202, kPriority, {1, 0x7f, 13}, {}, kNone, ""},
  {"get_robust_list", 274, kColumns, {}, {kThread}, kNone, ""},
  hole("set_robust_list", 273, "its words hold ids of the program's: when a thread with another id is killed (it does not end by exit), the kernel leaves its robust futexes locked"),
  // Descriptors
  {"fcntl F_SETOWN", 72, kColumns, {1, kWhole, 8}, {kNone, kNone, kSigned}, kNone, ""},
  {"fcntl F_GETOWN", 72, kOwner, {1, kWhole, 9}, {}, kSigned, ""},
  {"fcntl F_SETOWN_EX", 72, kColumns, {1, kWhole, 15}, {kNone, kNone, kOwnerIn}, kNone, ""},
  {"fcntl F_GETOWN_EX", 72, kColumns, {1, kWhole, 16}, {kNone, kNone, kOwnerOut}, kNone, ""},
  {"fcntl F_GETLK", 72, kColumns, {1, kWhole, 5}, {kNone, kNone, kLockOut}, kNone, ""},
  {"fcntl F_OFD_GETLK", 72, kColumns, {1, kWhole, 36}, {kNone, kNone, kLockOut}, kNone, ""},
  {"ioctl TIOCGPGRP", 16, kColumns, {1, kWhole, 0x540f}, {kNone, kNone, kWordOut}, kNone, ""},
  {"ioctl TIOCSPGRP", 16, kColumns, {1, kWhole, 0x5410}, {kNone, kNone, kWordIn}, kNone, ""},
  {"ioctl TIOCGSID", 16, kColumns, {1, kWhole, 0x5429}, {kNone, kNone, kWordOut}, kNone, ""},
  {"ioctl FIOSETOWN", 16, kColumns, {1, kWhole, 0x8901}, {kNone, kNone, kWordIn}, kNone, ""},
  {"ioctl SIOCSPGRP", 16, kColumns, {1, kWhole, 0x8902}, {kNone, kNone, kWordIn}, kNone, ""},
  {"ioctl FIOGETOWN", 16, kColumns, {1, kWhole, 0x8903}, {kNone, kNone, kWordOut}, kNone, ""},
  {"ioctl SIOCGPGRP", 16, kColumns, {1, kWhole, 0x8904}, {kNone, kNone, kWordOut}, kNone, ""},
  {"ioctl PIDFD_GET_INFO", 16, kColumns, {1, 0xc000ffff, 0xc000ff0b}, {kNone, kNone, kPidfdInfo}, kNone, ""},
  {"ioctl NS_GET_PID_FROM_PIDNS", 16, kHole, {1, kWhole, 0x8004b706}, {}, kNone, "and the other three of its kind: ids of another pid namespace"},
  {"ioctl SECCOMP_IOCTL_NOTIF_RECV", 16, kHole, {1, kWhole, 0xc0502100}, {}, kNone, "the id of the process that made the call"},
  // Messages
  {"getsockopt SO_PEERCRED", 55, kColumns, {2, kWhole, 17}, {kNone, kNone, kNone, kPeer}, kNone, ""},
  {"sendmsg", 46, kMessages, {}, {}, kNone, ""},
  {"sendmmsg", 307, kMessages, {}, {}, kNone, ""},
  {"recvmsg", 47, kMessages, {}, {}, kNone, ""},
  {"recvmmsg", 299, kMessages, {}, {}, kNone, ""},
  nothing("mq_notify", 244, "the sender's id is in siginfo"),
  {"shmctl IPC_STAT", 31, kColumns, {1, kWhole, 2}, {kNone, kNone, kSegmentOut}, kNone, ""},
  {"shmctl SHM_STAT", 31, kColumns, {1, kWhole, 13}, {kNone, kNone, kSegmentOut}, kNone, ""},
  {"shmctl SHM_STAT_ANY", 31, kColumns, {1, kWhole, 15}, {kNone, kNone, kSegmentOut}, kNone, ""},
  {"msgctl IPC_STAT", 71, kColumns, {1, kWhole, 2}, {kNone, kNone, kQueueOut}, kNone, ""},
  {"msgctl MSG_STAT", 71, kColumns, {1, kWhole, 11}, {kNone, kNone, kQueueOut}, kNone, ""},
  {"msgctl MSG_STAT_ANY", 71, kColumns, {1, kWhole, 13}, {kNone, kNone, kQueueOut}, kNone, ""},
  {"semctl GETPID", 66, kColumns, {2, kWhole, 11}, {}, kProcess, ""},
  // Paths
  {"execve", 59, kExec, {}, {kPath}, kNone, ""},
  {"execveat", 322, kExec, {}, {kNone, kPathAt}, kNone, ""},
  {"getdents64", 217, kListing, {}, {}, kNone, ""},
  {"getdents", 78, kListing, {}, {}, kNone, ""},
  {"readlink", 89, kLink, {}, {kPath}, kNone, ""},
  {"readlinkat", 267, kLink, {}, {kNone, kPathAt}, kNone, ""},
  path_call("open", 2, 0), path_call("creat", 85, 0), path_call("openat", 257, 1, kPathAt),
  path_call("openat2", 437, 1, kPathAt), path_call("open_tree", 428, 1, kPathAt),
  path_call("open_tree_attr", 467, 1, kPathAt), path_call("name_to_handle_at", 303, 1, kPathAt),
  path_call("stat", 4, 0), path_call("lstat", 6, 0), path_call("newfstatat", 262, 1, kPathAt),
  path_call("statx", 332, 1, kPathAt), path_call("statfs", 137, 0), path_call("access", 21, 0),
  path_call("faccessat", 269, 1, kPathAt), path_call("faccessat2", 439, 1, kPathAt),
  path_call("chdir", 80, 0), path_call("chroot", 161, 0), path_call("truncate", 76, 0),
  path_call("mkdir", 83, 0), path_call("mkdirat", 258, 1, kPathAt), path_call("rmdir", 84, 0),
  path_call("unlink", 87, 0), path_call("unlinkat", 263, 1, kPathAt), path_call("mknod", 133, 0),
  path_call("mknodat", 259, 1, kPathAt), path_call("rename", 82, 0, kPath, 1),
  path_call("renameat", 264, 1, kPathAt, 3), path_call("renameat2", 316, 1, kPathAt, 3),
  path_call("link", 86, 0, kPath, 1), path_call("linkat", 265, 1, kPathAt, 3),
  path_call("symlink", 88, 1), path_call("symlinkat", 266, 2, kPathAt),
  path_call("chmod", 90, 0), path_call("fchmodat", 268, 1, kPathAt), path_call("fchmodat2", 452, 1, kPathAt),
  path_call("chown", 92, 0), path_call("lchown", 94, 0), path_call("fchownat", 260, 1, kPathAt),
  path_call("utime", 132, 0), path_call("utimes", 235, 0), path_call("futimesat", 261, 1, kPathAt),
  path_call("utimensat", 280, 1, kPathAt), path_call("file_getattr", 468, 1, kPathAt),
  path_call("file_setattr", 469, 1, kPathAt), path_call("mount_setattr", 442, 1, kPathAt),
  path_call("move_mount", 429, 1, kPathAt, 3), path_call("fspick", 433, 1, kPathAt),
  path_call("mount", 165, 0, kPath, 1), path_call("umount2", 166, 0), path_call("pivot_root", 155, 0, kPath, 1),
  path_call("setxattr", 188, 0), path_call("lsetxattr", 189, 0), path_call("getxattr", 191, 0),
  path_call("lgetxattr", 192, 0), path_call("listxattr", 194, 0), path_call("llistxattr", 195, 0),
  path_call("removexattr", 197, 0), path_call("lremovexattr", 198, 0), path_call("setxattrat", 463, 1, kPathAt),
  path_call("getxattrat", 464, 1, kPathAt), path_call("listxattrat", 465, 1, kPathAt),
  path_call("removexattrat", 466, 1, kPathAt), path_call("inotify_add_watch", 254, 1),
  path_call("fanotify_mark", 301, 4, kPathAt), path_call("acct", 163, 0), path_call("swapon", 167, 0),
  path_call("swapoff", 168, 0), path_call("uselib", 134, 0), path_call("quotactl", 179, 1),
  // What is left
  hole("write", 1, "ids written as text: cgroup.procs and tasks of cgroups, ns_last_pid, core_pattern"),
  hole("pread64", 17, "ids in the text of files of /proc: stat, status, children, sched, fdinfo of a pidfd, locks, sysvipc, loadavg, cgroup.procs, and in the records of fanotify and userfaultfd (thread ids)"),
  hole("connect", 42, "a socket's path through /proc/<id>/root or cwd; the same for bind and sendto"),
  hole("recvfrom", 45, "netlink: the process connector, taskstats, audit, sock_diag; port numbers of netlink are pids by custom, not by rule"),
  hole("io_uring_enter", 426, "paths and messages in rings; torpor refuses a program with io_uring"),
  hole("bpf", 321, "BPF_TASK_FD_QUERY; programs of BPF see the kernel's ids"),
  hole("unshare", 272, "CLONE_NEWPID: children in a pid namespace of the program's own have the ids of that namespace"),
  hole("setns", 308, "into another pid namespace: as unshare"),
  hole("open_by_handle_at", 304, "a handle of pidfs names a process by its inode, which is another one's after a restart"),
};
// clang-format on
}  // namespace ids
using ids::id_calls;
inline constexpr std::size_t kIdCallCount = sizeof(id_calls) / sizeof(IdCall);

constexpr bool is_translated(const IdCall& call) {
  return call.how != How::kHole && call.how != How::kNothing;
}

constexpr bool fits(const IdWhen& when, const std::uint64_t* args) {
  return (static_cast<std::uint32_t>(args[when.argument]) & when.mask) == when.value;
}

// The row of a call; null if it is none of ours.
constexpr const IdCall* find_id_call(std::int64_t number, const std::uint64_t* args) {
  for (const IdCall& call : id_calls) {
    if (call.number == number && fits(call.when, args)) return &call;
  }
  return nullptr;
}

}  // namespace torpor::agent
