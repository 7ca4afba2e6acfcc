// The kernel's clocks as one number.
#pragma once

#include <time.h>

#include <cstdint>

namespace torpor::base {

// clock_gettime(2) in nanoseconds; 0 for a clock that the kernel does not have.
[[nodiscard]] inline std::int64_t clock_ns(clockid_t clock = CLOCK_MONOTONIC) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

}  // namespace torpor::base
