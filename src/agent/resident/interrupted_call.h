// A call that the kernel has ended with EINTR because there was a handler: which it was, and what
// the kernel would have done without. Freestanding; the supervisor uses it, too.
#pragma once

#include <asm/unistd.h>
#include <linux/futex.h>

#include <cstddef>
#include <cstdint>

namespace torpor::agent {

inline constexpr std::int64_t kInterruptedCall = -4;  // -EINTR
// Of the kernel (include/linux/errno.h).
inline constexpr std::int64_t kRestartSys = -512;
inline constexpr std::int64_t kRestartNoHand = -514;
inline constexpr std::int64_t kRestartBlock = -516;
inline constexpr std::size_t kCallInstructionBytes = 2;
inline constexpr std::size_t kCodeBytes = 24;  // in which a call's number is looked for

// EINTR itself where it would have been that in any case.
inline constexpr std::int64_t code_before_handler(std::int64_t number, const std::uint64_t* args) {
  constexpr std::uint64_t kAbsolute = 1;  // TIMER_ABSTIME
  switch (number) {
    case __NR_nanosleep:
    case __NR_poll:
    case __NR_restart_syscall: return kRestartBlock;
    case __NR_clock_nanosleep: return (args[1] & kAbsolute) != 0 ? kRestartNoHand : kRestartBlock;
    case __NR_futex: {
      const auto command = static_cast<std::uint32_t>(args[1]) & FUTEX_CMD_MASK;
      const bool waits = command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
      return waits && args[3] != 0 ? kRestartBlock : kInterruptedCall;
    }
    case __NR_pause:
    case __NR_rt_sigsuspend:
    case __NR_select:
    case __NR_pselect6:
    case __NR_ppoll:
    case __NR_msgrcv:
    case __NR_msgsnd: return kRestartNoHand;
    default: return kInterruptedCall;
  }
}

// The call that is asked for by the code that ends here, where it says so in a constant; else -1.
inline constexpr std::int64_t call_in_code(const std::uint8_t* code, std::size_t bytes) {
  constexpr std::size_t kMoveBytes = 5;  // mov $number, %eax
  constexpr std::uint8_t kMove = 0xb8;
  constexpr std::uint32_t kMost = 600;
  if (bytes < kMoveBytes + kCallInstructionBytes) return -1;
  if (code[bytes - 2] != 0x0f || code[bytes - 1] != 0x05) return -1;
  for (std::size_t at = bytes - kCallInstructionBytes - kMoveBytes + 1; at-- > 0;) {
    if (code[at] != kMove) continue;
    std::uint32_t number = 0;
    for (std::size_t i = 4; i > 0; --i) number = number << 8 | code[at + i];
    if (number < kMost) return number;
  }
  return -1;
}

}  // namespace torpor::agent
