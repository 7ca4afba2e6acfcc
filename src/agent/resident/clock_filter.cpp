// The filter that leads calls with absolute times into the agent, made of their table. It stands
// beside those of filter.cpp and id_filter.cpp, where the clocks are not the host's.
#include "agent/resident/clocks.h"
#include "agent/resident/table_filter.h"

namespace torpor::agent {
namespace {

using ClockFilter = TableFilter<512>;

constexpr std::uint8_t kConditionLength = 3;
constexpr std::uint8_t kPointerLength = 4;

constexpr std::uint8_t length_of_row(const ClockCall& row) {
  unsigned length =
      ClockFilter::kPlaceLength + (row.how == ClockHow::kDeadline ? kPointerLength : 0U);
  for (const ClockWhen& when : row.when) length += when.mask != 0 ? kConditionLength : 0U;
  return static_cast<std::uint8_t>(length);
}

// What does not fit goes on behind the row.
constexpr void add_row(ClockFilter& filter, const ClockCall& row) {
  std::uint8_t left = length_of_row(row);
  for (const ClockWhen& when : row.when) {
    if (when.mask == 0) continue;
    left = static_cast<std::uint8_t>(left - kConditionLength);
    filter.load_argument(when.argument);
    filter.add(BPF_ALU | BPF_AND | BPF_K, when.mask);
    filter.add(BPF_JMP | BPF_JEQ | BPF_K, when.value, 0, left);
  }
  if (row.how == ClockHow::kDeadline) {
    left = static_cast<std::uint8_t>(left - kPointerLength);
    filter.load_argument(row.time);
    filter.add(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2);
    filter.load_argument(row.time, true);
    filter.add(BPF_JMP | BPF_JEQ | BPF_K, 0, left, 0);
  }
  filter.answer_by_place();
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
  filter.begin();
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

std::int64_t install_clock_filter() { return kClockFilter.install(); }

}  // namespace torpor::agent
