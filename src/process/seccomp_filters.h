// Reading another thread's seccomp filters and system call dispatch through ptrace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "process/tracee.h"

namespace torpor::process {

struct SeccompProgram {
  std::string instructions;  // array of struct sock_filter
  std::uint64_t flags = 0;   // SECCOMP_FILTER_FLAG_*: only _LOG can be read back
};

// The filter that was installed `index`th, 0 the oldest (PTRACE_SECCOMP_GET_FILTER, Linux 4.4;
// flags since 4.16). The thread is stopped. Needs CAP_SYS_ADMIN in the first user namespace and no
// filter of our own. Throws base::Error; not_found when there are not so many.
SeccompProgram read_filter(const Tracee& thread, std::uint32_t index);

// Whether the thread, which is stopped, has its system calls handed to itself (prctl(2),
// PR_SET_SYSCALL_USER_DISPATCH). False where the kernel cannot tell (before Linux 6.4).
bool dispatches_system_calls(const Tracee& thread);

}  // namespace torpor::process
