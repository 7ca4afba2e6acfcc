#include "wrapped/frame_registers.h"

#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

#include "agent/resident/interrupted_call.h"

namespace torpor::wrapped {
namespace {

using process::BlockedSyscall;
using process::Registers;

using agent::kRestartBlock;
using agent::kRestartSys;

constexpr std::uint64_t kInstructionBytes = agent::kCallInstructionBytes;

Registers from_frame(const agent::Frame& f, const std::uint64_t (&bases)[2]) {
  Registers r{};
  r.r15 = f.r15, r.r14 = f.r14, r.r13 = f.r13, r.r12 = f.r12, r.rbp = f.rbp, r.rbx = f.rbx;
  r.r11 = f.r11, r.r10 = f.r10, r.r9 = f.r9, r.r8 = f.r8, r.rax = f.rax, r.rcx = f.rcx;
  r.rdx = f.rdx, r.rsi = f.rsi, r.rdi = f.rdi, r.rip = f.rip, r.eflags = f.eflags, r.rsp = f.rsp;
  r.cs = f.cs, r.ss = f.ss, r.fs = f.fs, r.gs = f.gs;
  r.fs_base = bases[0], r.gs_base = bases[1];
  r.orig_rax = ~0ULL;
  return r;
}

bool has_arguments(const Registers& r, const BlockedSyscall& seen) {
  const std::uint64_t now[6] = {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9};
  return std::memcmp(now, seen.args, sizeof(now)) == 0 && r.rsp == seen.sp;
}

}  // namespace

StopRegisters registers_at_stop(const agent::Frame& frame, const std::uint64_t (&bases)[2],
                                const std::optional<BlockedSyscall>& seen) {
  StopRegisters stop{from_frame(frame, bases), CallEnd::none, 0};
  Registers& r = stop.registers;
  if (!seen || seen->nr < 0 || !has_arguments(r, *seen)) return stop;
  if (r.rip == seen->pc - kInstructionBytes && r.rax == static_cast<std::uint64_t>(seen->nr)) {
    r.rip = seen->pc;
    r.rax = static_cast<std::uint64_t>(kRestartSys);
    stop.end = CallEnd::by_handler_without_restart;
  } else if (r.rip == seen->pc && static_cast<std::int64_t>(r.rax) == -EINTR) {
    r.rax = static_cast<std::uint64_t>(agent::code_before_handler(seen->nr, seen->args));
    stop.end = CallEnd::by_any_handler;
  } else {
    return stop;
  }
  r.orig_rax = static_cast<std::uint64_t>(seen->nr);
  stop.behind_call = seen->pc;
  return stop;
}

WayOn way_on(const Registers& stopped) {
  WayOn on{stopped, false};
  const auto result = static_cast<std::int64_t>(stopped.rax);
  const bool in_call = static_cast<std::int64_t>(stopped.orig_rax) >= 0;
  if (!in_call || result < kRestartBlock || result > kRestartSys) return on;
  on.restarts = result == kRestartBlock;
  on.registers.rax = on.restarts ? SYS_restart_syscall : stopped.orig_rax;
  on.registers.rip -= kInstructionBytes;
  return on;
}

SleptCall slept_call(const process::Registers& r) {
  const bool in_call = static_cast<std::int64_t>(r.orig_rax) >= 0;
  if (!in_call || static_cast<std::int64_t>(r.rax) >= 0) return {};
  return {r.orig_rax + 1, r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9, r.rsp, r.rip};
}

process::BlockedSyscall to_call(const SleptCall& slept) {
  return {static_cast<long>(slept[0]) - 1,
          {slept[1], slept[2], slept[3], slept[4], slept[5], slept[6]},
          slept[7],
          slept[8]};
}

}  // namespace torpor::wrapped
