// The filter that leads calls with absolute times into the agent, made of their table. It stands
// beside those of filter.cpp and id_filter.cpp, where the clocks are not the host's.
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "agent/resident/clocks.h"

namespace torpor::agent {
namespace {

struct ClockFilter {
  sock_filter code[512]{};
  std::uint16_t count = 0;

  constexpr void add(std::uint32_t op, std::uint32_t k, std::uint8_t yes = 0, std::uint8_t no = 0) {
    code[count++] = sock_filter{static_cast<std::uint16_t>(op), yes, no, k};
  }
  constexpr void load(std::size_t offset) {
    add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
  }
  constexpr void answer(std::uint32_t value) { add(BPF_RET | BPF_K, value); }
};

constexpr std::uint8_t kConditionLength = 3;
constexpr std::uint8_t kPointerLength = 4;
constexpr std::uint8_t kPlaceLength = 6;

constexpr std::uint8_t length_of_row(const ClockCall& row) {
  unsigned length = kPlaceLength + (row.how == ClockHow::kDeadline ? kPointerLength : 0U);
  for (const ClockWhen& when : row.when) length += when.mask != 0 ? kConditionLength : 0U;
  return static_cast<std::uint8_t>(length);
}

constexpr std::size_t place_of_argument(std::uint8_t argument) {
  return offsetof(seccomp_data, args) + 8 * std::size_t{argument};
}

// Calls from the agent itself pass.
constexpr void add_place_check(ClockFilter& filter) {
  constexpr auto kHigh = static_cast<std::uint32_t>(kResidentBase >> 32);
  constexpr std::size_t kPlace = offsetof(seccomp_data, instruction_pointer);
  filter.load(kPlace + 4);
  filter.add(BPF_JMP | BPF_JEQ | BPF_K, kHigh, 0, 2);
  filter.load(kPlace);
  filter.add(BPF_JMP | BPF_JGE | BPF_K, kResidentTextBytes, 0, 1);
  filter.answer(SECCOMP_RET_TRAP);
  filter.answer(SECCOMP_RET_ALLOW);
}

// What does not fit goes on behind the row.
constexpr void add_row(ClockFilter& filter, const ClockCall& row) {
  std::uint8_t left = length_of_row(row);
  for (const ClockWhen& when : row.when) {
    if (when.mask == 0) continue;
    left = static_cast<std::uint8_t>(left - kConditionLength);
    filter.load(place_of_argument(when.argument));
    filter.add(BPF_ALU | BPF_AND | BPF_K, when.mask);
    filter.add(BPF_JMP | BPF_JEQ | BPF_K, when.value, 0, left);
  }
  if (row.how == ClockHow::kDeadline) {
    left = static_cast<std::uint8_t>(left - kPointerLength);
    filter.load(place_of_argument(row.time));
    filter.add(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2);
    filter.load(place_of_argument(row.time) + 4);
    filter.add(BPF_JMP | BPF_JEQ | BPF_K, 0, left, 0);
  }
  add_place_check(filter);
}

constexpr bool is_first_of_number(const ClockCall& row) {
  for (const ClockCall& other : clock_calls) {
    if (&other == &row) return true;
    if (other.number == row.number) return false;
  }
  return true;
}

// A table of all numbers first, so that most calls are soon through; then a block for each.
constexpr ClockFilter assemble() {
  ClockFilter filter;
  filter.load(offsetof(seccomp_data, arch));
  filter.add(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
  filter.answer(SECCOMP_RET_ALLOW);
  filter.load(offsetof(seccomp_data, nr));
  for (const ClockCall& row : clock_calls) {
    if (!is_translated(row) || !is_first_of_number(row)) continue;
    std::uint8_t block = 1;
    for (const ClockCall& other : clock_calls) {
      if (other.number == row.number)
        block = static_cast<std::uint8_t>(block + length_of_row(other));
    }
    filter.add(BPF_JMP | BPF_JEQ | BPF_K, row.number, 0, block);
    for (const ClockCall& other : clock_calls) {
      if (other.number == row.number) add_row(filter, other);
    }
    filter.answer(SECCOMP_RET_ALLOW);
  }
  filter.answer(SECCOMP_RET_ALLOW);
  return filter;
}

constexpr ClockFilter kClockFilter = assemble();

}  // namespace

std::int64_t install_clock_filter() {
  const sock_fprog program{kClockFilter.count, const_cast<sock_filter*>(kClockFilter.code)};
  return sys::raw_syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0,
                          reinterpret_cast<std::uint64_t>(&program));
}

}  // namespace torpor::agent
