// How long the call that is entered again may still wait. A thread that has been stopped works it
// out itself, when nothing but its return is to come: what the supervisor does with all the others
// in between is no part of its wait then.
#include <asm/unistd.h>

#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

constexpr std::int64_t kSecond = 1000000000;
constexpr std::int64_t kMillisecond = 1000000;
constexpr std::int64_t kMicrosecond = 1000;
constexpr std::uint64_t kMonotonic = 1;

// The kernel writes a timespec there: a place that the program itself may not write to stays as it
// is.
bool is_writable(std::uint64_t place) {
  return raw_syscall(__NR_clock_getres, kMonotonic, place) == 0;
}

}  // namespace

std::int64_t monotonic_ns() {
  std::int64_t now[2]{};
  raw_syscall(__NR_clock_gettime, kMonotonic, address_of(&now[0]));
  return now[0] * kSecond + now[1];
}

void cut_timeout_down(WayOut& out) {
  const LateTimeout& timeout = out.timeout;
  if (timeout.form == kNoTimeout || out.how != kChanged) return;
  const std::int64_t rest = timeout.deadline_ns - monotonic_ns();
  const std::int64_t left = rest < 0 ? 0 : rest;
  if (timeout.form == kMilliseconds) {
    out.registers[timeout.place] =
        static_cast<std::uint64_t>((left + kMillisecond - 1) / kMillisecond);
    return;
  }
  if (!is_writable(timeout.place)) return;
  auto* place = reinterpret_cast<std::int64_t*>(timeout.place);
  place[0] = left / kSecond;
  place[1] = left % kSecond / (timeout.form == kTimeval ? kMicrosecond : 1);
}

}  // namespace torpor::agent
