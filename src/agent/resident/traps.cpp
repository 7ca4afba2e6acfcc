// A wrapped system call arrives as SIGSYS (seccomp(2), SECCOMP_RET_TRAP).
#include <asm/unistd.h>

#include "agent/resident/clocks.h"

namespace torpor::agent {
namespace {

std::int64_t make_wrapped_call(Trap& trap) {
  if (has_clocks()) {
    const ClockCall* row = find_clock_call(trap.number, trap.args);
    if (row != nullptr) return wrap_clock(trap, *row);
  }
  if (has_ids()) {
    const IdCall* row = find_id_call(trap.number, trap.args);
    if (row != nullptr && is_translated(*row)) return wrap_ids(trap, *row);
  }
  switch (trap.number) {
    case __NR_execve:
    case __NR_execveat: return wrap_exec(trap);
    case __NR_fork:
    case __NR_clone: return wrap_fork(trap);
    case __NR_prctl:
    case __NR_seccomp: return wrap_prctl(trap);
    case __NR_rseq: return wrap_sequences(trap);
    case __NR_readlink:
    case __NR_readlinkat: return wrap_link(trap);
    default: return wrap_signal_call(trap);
  }
}

}  // namespace

// The stack below is the program's and may be small.
void on_trap(int signal, SignalInfo* info, Frame* frame) {
  constexpr std::int32_t kFromFilter = 1;  // SYS_SECCOMP
  if (info->code != kFromFilter) {
    leave_clock(*frame);
    deliver_virtual(static_cast<std::uint64_t>(signal), info, frame);
    return;
  }
  if (is_judged(*info, *frame)) return;
  Trap trap{info->call.number,
            {frame->rdi, frame->rsi, frame->rdx, frame->r10, frame->r8, frame->r9},
            frame};
  const std::int64_t result = make_wrapped_call(trap);
  if (result == kNotWrapped) return deliver_forced(kTrapSignal, info, frame);
  if (result != kMakeItAgain) frame->rax = static_cast<std::uint64_t>(result);
}

}  // namespace torpor::agent
