// The filter that leads calls with ids into the agent, made of their table. It stands beside the
// one of filter.cpp: the kernel does what the stricter of the two says.
//
// What is decided by the call's number alone comes last, and from where the call is made after
// that: so the kernel finds by itself which calls always pass.
#include "agent/resident/ids.h"
#include "agent/resident/table_filter.h"

namespace torpor::agent {
namespace {

constexpr std::size_t kMost = 1024;

struct IdFilter : TableFilter<kMost> {
  std::uint16_t leaps[kMost]{};  // jumps to the check of the place, which stands at the end
  std::uint16_t leap_count = 0;

  constexpr void leap() {
    leaps[leap_count++] = count;
    add(BPF_JMP | BPF_JA, 0);
  }
  constexpr void leap_if(std::uint32_t value) {
    add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    leap();
  }
};

using Wanted = bool (*)(const IdCall& row);

constexpr bool of_any(const IdCall& row) { return is_translated(row) && row.how != How::kRead; }
constexpr bool of_reading(const IdCall& row) { return row.how == How::kRead; }

// Whether the call is led in whatever its arguments are.
constexpr bool always(std::uint16_t number, Wanted wanted) {
  for (const IdCall& row : id_calls) {
    if (row.number == number && wanted(row) && row.when.mask == 0) return true;
  }
  return false;
}

constexpr bool is_first_of_number(const IdCall& row, Wanted wanted) {
  for (const IdCall& other : id_calls) {
    if (&other == &row) return true;
    if (other.number == row.number && wanted(other)) return false;
  }
  return true;
}

constexpr std::uint16_t rows_of(std::uint16_t number, Wanted wanted) {
  std::uint16_t rows = 0;
  for (const IdCall& row : id_calls) {
    if (row.number == number && wanted(row)) ++rows;
  }
  return rows;
}

constexpr void add_condition(IdFilter& filter, const IdWhen& when) {
  filter.load_argument(when.argument);
  filter.add(BPF_ALU | BPF_AND | BPF_K, when.mask);
  filter.leap_if(when.value);
}

// Four instructions for each row, and the answer if none fits.
constexpr void add_conditions(IdFilter& filter, std::uint16_t number, Wanted wanted) {
  const auto block = static_cast<std::uint8_t>(4 * rows_of(number, wanted) + 1);
  filter.add(BPF_JMP | BPF_JEQ | BPF_K, number, 0, block);
  for (const IdCall& row : id_calls) {
    if (row.number == number && wanted(row)) add_condition(filter, row.when);
  }
  filter.answer(SECCOMP_RET_ALLOW);
}

constexpr IdFilter assemble(Wanted wanted) {
  IdFilter filter;
  filter.begin();
  for (const IdCall& row : id_calls) {
    const bool first = wanted(row) && is_first_of_number(row, wanted);
    if (first && !always(row.number, wanted)) add_conditions(filter, row.number, wanted);
  }
  for (const IdCall& row : id_calls) {
    const bool first = wanted(row) && is_first_of_number(row, wanted);
    if (first && always(row.number, wanted)) filter.leap_if(row.number);
  }
  filter.answer(SECCOMP_RET_ALLOW);
  for (std::uint16_t i = 0; i < filter.leap_count; ++i) {
    filter.code[filter.leaps[i]].k = static_cast<std::uint32_t>(filter.count - filter.leaps[i] - 1);
  }
  filter.answer_by_place();
  return filter;
}

constexpr IdFilter kIdFilter = assemble(of_any);
constexpr IdFilter kReadFilter = assemble(of_reading);

}  // namespace

std::int64_t install_id_filter() { return kIdFilter.install(); }
std::int64_t install_read_filter() { return kReadFilter.install(SECCOMP_FILTER_FLAG_TSYNC); }

}  // namespace torpor::agent
