// The system call in which a thread sleeps: /proc/PID/task/TID/syscall (proc_pid_syscall(5)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace torpor::process {

struct BlockedSyscall {
  long nr = -1;  // -1: not in a system call (stopped, or in a page fault); args are 0 then
  uint64_t args[6] = {};
  uint64_t sp = 0;
  uint64_t pc = 0;  // behind the system call instruction
};

// nullopt while the thread runs or is about to. Needs leave to ptrace (PTRACE_MODE_ATTACH_FSCREDS).
std::optional<BlockedSyscall> blocked_syscall(pid_t pid, pid_t tid);

// Parses the text of a syscall file. `file` is for the message of an error.
std::optional<BlockedSyscall> parse_syscall(std::string_view text,
                                            std::string_view file = "syscall");

}  // namespace torpor::process
