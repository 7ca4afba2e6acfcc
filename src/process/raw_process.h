// Process-level system calls that libc has no function for. All may be used after fork().
#pragma once

#include <linux/capability.h>
#include <signal.h>
#include <sys/types.h>

namespace torpor::process {

// fork(2) whose child is our sibling: its parent is our parent (CLONE_PARENT).
pid_t fork_sibling();

// execveat(2) with an empty path. Returns only on failure (-1, errno).
int execute_descriptor(int fd, const char* const* arguments);

// close_range(2) with CLOSE_RANGE_CLOEXEC, from `first` on (Linux 5.11).
void close_on_exec_from(int first);

// pidfd_open(2) and pidfd_getfd(2) (Linux 5.6): descriptor `fd` of process `pid` as one of ours, or
// -1 and errno.
int take_descriptor(pid_t pid, int fd);
// Of a thread whose table of descriptors may be its own (PIDFD_THREAD, Linux 6.9; before that of
// its process).
int take_descriptor_of_thread(pid_t pid, pid_t tid, int fd);

// rt_sigqueueinfo(2): a signal with a description of our own making.
int queue_signal(pid_t pid, siginfo_t& info);
// rt_tgsigqueueinfo(2): the same to one thread.
int queue_signal_to_thread(pid_t pid, pid_t tid, siginfo_t& info);

int get_capabilities(__user_cap_header_struct* header, __user_cap_data_struct* data);
int set_capabilities(__user_cap_header_struct* header, const __user_cap_data_struct* data);

}  // namespace torpor::process
