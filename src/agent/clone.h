// Making tasks where a seccomp filter says that there is no clone3(2): by clone(2), which can do
// all but choose an id. Containers do so because a filter cannot look into clone3's arguments.
#pragma once

#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/sched.h>

#include "sys/arch/x86_64/raw_syscall.h"

namespace torpor::agent {

// After clone3(2): would clone(2) do?
inline bool may_clone_plainly(std::int64_t result, const clone_args& args) {
  return (result == -ENOSYS || result == -EPERM) && args.set_tid_size == 0;
}

// In the manner of fork(2): the child goes on on a copy of this very stack.
inline std::int64_t clone_plainly(const clone_args& args) {
  return sys::raw_syscall(__NR_clone, args.flags | args.exit_signal, 0, args.parent_tid,
                          args.child_tid, args.tls);
}

// The child calls function(argument) on its own stack, and never returns.
inline std::int64_t clone_plainly_to(const clone_args& args, void (*function)(void*),
                                     void* argument) {
  register std::uint64_t child_tid asm("r10") = args.child_tid;
  register std::uint64_t tls asm("r8") = args.tls;
  register void (*to)(void*) asm("r12") = function;
  register void* with asm("r13") = argument;
  std::int64_t result = __NR_clone;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r13, %%rdi\n\t"
      "call *%%r12\n\t"
      "ud2\n"
      "1:"
      : "+a"(result)
      : "D"(args.flags | args.exit_signal), "S"(args.stack + args.stack_size), "d"(args.parent_tid),
        "r"(child_tid), "r"(tls), "r"(to), "r"(with)
      : "rcx", "r11", "cc", "memory");
  return result;
}

}  // namespace torpor::agent
