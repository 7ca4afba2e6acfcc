// Do two processes share a kernel object? kcmp(2).
#pragma once

#include <sys/types.h>

namespace torpor::process {

// Whether the host lets us ask: containers often do not, and not every kernel can.
bool is_kcmp_allowed();

// The order of two objects in the kernel's own (arbitrary but constant) order: 0 same, negative,
// positive. Throws Error permission, program_gone, or host_lacks (no CONFIG_KCMP). A negative fd
// error (EBADF) is reported as io.
int compare_files(pid_t a, int fd_a, pid_t b, int fd_b);

bool share_memory(pid_t a, pid_t b);       // KCMP_VM
bool share_descriptors(pid_t a, pid_t b);  // KCMP_FILES
bool share_directories(pid_t a, pid_t b);  // KCMP_FS
bool share_actions(pid_t a, pid_t b);      // KCMP_SIGHAND

// Whether descriptor `fd` of `pid` is the target that epoll instance `epoll_fd` of `epoll_pid`
// watches under the number `watched_fd` (the `offset`th of that number). KCMP_EPOLL_TFD,
// Linux 4.13.
bool is_epoll_target(pid_t pid, int fd, pid_t epoll_pid, int epoll_fd, int watched_fd,
                     unsigned offset);

}  // namespace torpor::process
