// What the kernel puts on the stack for a signal handler (struct ucontext in
// arch/x86/include/uapi/asm), and what else a handler of ours gets.
#pragma once

#include <cstdint>

namespace torpor::agent {

struct Frame {
  std::uint64_t flags, link;
  std::uint64_t stack[3];  // stack_t
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
  std::uint16_t cs, gs, fs, ss;
  std::uint64_t error, trap, old_mask, cr2;
  std::uint64_t extended;  // address of the extended registers, 0: none
  std::uint64_t reserved[8];
  std::uint64_t signal_mask;
};
static_assert(sizeof(Frame) == 304);

struct SignalInfo {  // siginfo_t, as far as it is read here
  std::int32_t signal, error, code, padding;
  union {
    struct {
      std::uint64_t address;
      std::int32_t number;
      std::uint32_t architecture;
    } call;  // SIGSYS
    struct {
      std::uint64_t computation;  // pid and uid of others
      std::uint64_t stop;         // the value
    } order;
  };
};

// struct sigaction of the kernel.
struct KernelAction {
  std::uint64_t handler, flags, restorer, mask;
};

inline constexpr std::uint64_t kSaSigInfo = 4;
inline constexpr std::uint64_t kSaRestorer = 0x04000000;
inline constexpr std::uint64_t kSaOnStack = 0x08000000;
inline constexpr std::uint64_t kSaRestart = 0x10000000;
inline constexpr std::uint64_t kDefaultAction = 0;
inline constexpr std::uint64_t kIgnore = 1;

inline constexpr std::uint64_t kStrictSegments = 2 | 4;  // UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
inline constexpr std::uint64_t kPlainFlags = 0x202;      // interrupts on, as in every program
// Ours, in Frame::flags, where the kernel does not look: signal_mask has our two signals in it.
inline constexpr std::uint64_t kMaskIsWhole = std::uint64_t{1} << 63;

inline constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
inline constexpr std::uint64_t bit_of(std::uint64_t signal) {
  return std::uint64_t{1} << (signal - 1);
}

}  // namespace torpor::agent
