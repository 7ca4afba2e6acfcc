// How a thread leaves our handler when nobody has told it: the supervisor was killed before it
// could.
#include <asm/unistd.h>

#include "agent/resident/interrupted_call.h"
#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

// The kernel is asked: everything is blocked, so this changes nothing.
bool is_readable(std::uint64_t address) {
  return raw_syscall(__NR_rt_sigprocmask, 0, address, 0, 8) == 0;
}

std::int64_t call_before(const Frame& frame) {
  if (frame.rcx != frame.rip) return -1;  // as a system call leaves it
  const std::uint64_t code = frame.rip - kCodeBytes;
  for (std::uint64_t at = code; at < frame.rip; at += 8) {
    if (!is_readable(at)) return -1;
  }
  return call_in_code(reinterpret_cast<const std::uint8_t*>(code), kCodeBytes);
}

// struct user_regs_struct, as far as leave_handler() and leave_by_hand() need it.
void take_from(const Frame& frame, std::uint64_t* r) {
  r[0] = frame.r15, r[1] = frame.r14, r[2] = frame.r13, r[3] = frame.r12;
  r[4] = frame.rbp, r[5] = frame.rbx, r[6] = frame.r11, r[7] = frame.r10;
  r[8] = frame.r9, r[9] = frame.r8, r[10] = frame.rax, r[11] = frame.rcx;
  r[12] = frame.rdx, r[13] = frame.rsi, r[14] = frame.rdi;
  r[16] = frame.rip, r[17] = frame.cs, r[18] = frame.eflags, r[19] = frame.rsp, r[20] = frame.ss;
}

// Calls that leave what is left of their timeout where the program keeps it, and read it there
// again.
LateTimeout kept_timeout(std::int64_t number, const std::uint64_t* args,
                         std::int64_t interrupted_ns) {
  constexpr std::int64_t kSecond = 1000000000;
  constexpr std::int64_t kMicrosecond = 1000;
  const bool in_third = number == __NR_ppoll;
  if (!in_third && number != __NR_select && number != __NR_pselect6) return {};
  const std::uint64_t place = args[in_third ? 2 : 4];
  if (place == 0 || !is_readable(place) || !is_readable(place + 8)) return {};
  const auto* left = reinterpret_cast<const std::int64_t*>(place);
  const std::int64_t unit = number == __NR_select ? kMicrosecond : 1;
  return {number == __NR_select ? kTimeval : kTimespec, place,
          interrupted_ns + left[0] * kSecond + left[1] * unit};
}

}  // namespace

void find_own_way(const Frame& frame, WayOut& out) {
  if (static_cast<std::int64_t>(frame.rax) != kInterruptedCall) return;
  const std::int64_t number = call_before(frame);
  const std::uint64_t args[6] = {frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9};
  const std::int64_t before = code_before_handler(number, args);
  if (number < 0 || before == kInterruptedCall) return;
  take_from(frame, out.registers);
  out.how = before == kRestartBlock ? kRestarting : kChanged;
  out.registers[10] =
      static_cast<std::uint64_t>(before == kRestartBlock ? __NR_restart_syscall : number);
  out.registers[16] -= kCallInstructionBytes;
  out.behind_call = frame.rip;
  out.any_handler_ends_it = 1;
  out.timeout = kept_timeout(number, args, out.interrupted_ns);
}

}  // namespace torpor::agent
