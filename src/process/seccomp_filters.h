// Reading another thread's seccomp filters and system call dispatch through ptrace.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "process/stopped_thread.h"

namespace torpor::process {

// The filter that was installed `index`th, 0 the oldest (PTRACE_SECCOMP_GET_FILTER, Linux 4.4;
// flags since 4.16). The thread is stopped. Needs CAP_SYS_ADMIN in the first user namespace and no
// filter of our own. Throws base::Error; not_found when there are not so many.
SeccompProgram read_filter(pid_t tid, std::uint32_t index);

// Whether the thread, which is stopped, has its system calls handed to itself (prctl(2),
// PR_SET_SYSCALL_USER_DISPATCH). False where the kernel cannot tell (before Linux 6.4).
bool has_dispatch(pid_t tid);

}  // namespace torpor::process
