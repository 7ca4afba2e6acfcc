// What the seccomp filters that are made of a table of calls have in common: id_filter.cpp,
// clock_filter.cpp. Freestanding.
#pragma once

#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstddef>
#include <cstdint>

#include "agent/resident/resident.h"
#include "sys/arch/x86_64/raw_syscall.h"

namespace torpor::agent {

template <std::size_t kMost>
struct TableFilter {
  sock_filter code[kMost]{};
  std::uint16_t count = 0;

  constexpr void add(std::uint32_t op, std::uint32_t k, std::uint8_t yes = 0, std::uint8_t no = 0) {
    code[count++] = sock_filter{static_cast<std::uint16_t>(op), yes, no, k};
  }
  constexpr void load(std::size_t offset) {
    add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
  }
  // The lower half of it, or the upper.
  constexpr void load_argument(std::uint8_t argument, bool upper = false) {
    load(offsetof(seccomp_data, args) + 8 * std::size_t{argument} + (upper ? 4 : 0));
  }
  constexpr void answer(std::uint32_t value) { add(BPF_RET | BPF_K, value); }

  // Calls of other architectures pass. Afterwards the number of the call is loaded.
  constexpr void begin() {
    load(offsetof(seccomp_data, arch));
    add(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    answer(SECCOMP_RET_ALLOW);
    load(offsetof(seccomp_data, nr));
  }

  // The end: into the agent, but calls from the agent itself pass. kPlaceLength instructions.
  constexpr void answer_by_place() {
    constexpr auto kHigh = static_cast<std::uint32_t>(kResidentBase >> 32);
    constexpr std::size_t kPlace = offsetof(seccomp_data, instruction_pointer);
    load(kPlace + 4);
    add(BPF_JMP | BPF_JEQ | BPF_K, kHigh, 0, 2);
    load(kPlace);
    add(BPF_JMP | BPF_JGE | BPF_K, kResidentTextBytes, 0, 1);
    answer(SECCOMP_RET_TRAP);
    answer(SECCOMP_RET_ALLOW);
  }
  static constexpr std::uint8_t kPlaceLength = 6;

  // seccomp(2); 0 or -errno.
  [[nodiscard]] std::int64_t install(std::uint64_t flags = 0) const {
    const sock_fprog program{count, const_cast<sock_filter*>(code)};
    return sys::raw_syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags,
                            reinterpret_cast<std::uint64_t>(&program));
  }
};

}  // namespace torpor::agent
