// How far the clocks that a program sees are ahead of the host's, where a restart has no time
// namespace to say so (time_namespaces(7)). Freestanding.
#pragma once

#include <cstdint>

namespace torpor::agent {

inline constexpr std::int64_t kNanoseconds = 1000000000;

struct ClockTime {  // struct timespec
  std::int64_t seconds;
  std::int64_t nanoseconds;
};

// Nanoseconds are not negative here either, and so no more than a comparison is needed with them.
struct ClockOffsets {
  ClockTime monotonic;  // also CLOCK_MONOTONIC_RAW and CLOCK_MONOTONIC_COARSE
  ClockTime boottime;   // also CLOCK_BOOTTIME_ALARM
};

constexpr ClockTime clock_time_of(std::int64_t ns) {
  ClockTime time{ns / kNanoseconds, ns % kNanoseconds};
  if (time.nanoseconds < 0) time = {time.seconds - 1, time.nanoseconds + kNanoseconds};
  return time;
}
constexpr std::int64_t ns_of(const ClockTime& time) {
  return time.seconds * kNanoseconds + time.nanoseconds;
}

constexpr bool is_set(const ClockTime& offset) {
  return offset.seconds != 0 || offset.nanoseconds != 0;
}
constexpr bool is_set(const ClockOffsets& offsets) {
  return is_set(offsets.monotonic) || is_set(offsets.boottime);
}

// Of a clockid_t; null: a clock that is the same for everybody.
constexpr const ClockTime* offset_of(const ClockOffsets& offsets, std::int32_t clock) {
  switch (clock) {
    case 1:  // CLOCK_MONOTONIC
    case 4:  // CLOCK_MONOTONIC_RAW
    case 6:  // CLOCK_MONOTONIC_COARSE
      return &offsets.monotonic;
    case 7:  // CLOCK_BOOTTIME
    case 9:  // CLOCK_BOOTTIME_ALARM
      return &offsets.boottime;
    default: return nullptr;
  }
}

// The program's time for the host's.
constexpr ClockTime time_of_program(const ClockTime& host, const ClockTime& offset) {
  ClockTime time{host.seconds + offset.seconds, host.nanoseconds + offset.nanoseconds};
  if (time.nanoseconds >= kNanoseconds) {
    time = {time.seconds + 1, time.nanoseconds - kNanoseconds};
  }
  return time;
}

// The host's time for a time that the program gives the kernel. Before the host's clock began to
// run: its beginning. What is no time at all stays as it is: the kernel is to say so.
constexpr ClockTime time_of_host(const ClockTime& program, const ClockTime& offset) {
  const bool is_time =
      program.seconds >= 0 && program.nanoseconds >= 0 && program.nanoseconds < kNanoseconds;
  if (!is_time) return program;
  ClockTime time{0, program.nanoseconds - offset.nanoseconds};
  if (__builtin_sub_overflow(program.seconds, offset.seconds, &time.seconds)) {
    return offset.seconds < 0 ? ClockTime{INT64_MAX, 0} : ClockTime{0, 0};
  }
  if (time.nanoseconds < 0) time = {time.seconds - 1, time.nanoseconds + kNanoseconds};
  return time.seconds < 0 ? ClockTime{0, 0} : time;
}

}  // namespace torpor::agent
