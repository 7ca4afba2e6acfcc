// THE table of system calls (x86-64, up to Linux 6.18) that tell or take an absolute time on a
// clock that is the program's own (clock_offsets.h). From it come: the filter that leads these
// calls into the agent (clock_filter.cpp), their translation (clock_wrap.cpp), a part of
// docs/pid-table.md and a test for each (clock_wrap_test.cpp). Freestanding.
//
// The first row that fits is the one that counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace torpor::agent {

enum class ClockHow : std::uint8_t {
  kTold,      // the time in `time` comes back, on the clock in argument 0
  kDeadline,  // the time in `time` is given: struct timespec*
  kTimer,     // struct itimerspec* in `time`; the clock is that of the timer in argument 0
  kTimerFd,   // the same of a timerfd
  kUptime,    // struct sysinfo* in `time`
  kTicks,     // the result, in clock ticks
  kHole,      // not translated; the note says why
};

// (argument & mask) == value, for the lower half of an argument. Mask 0: always.
struct ClockWhen {
  std::uint8_t argument = 0;
  std::uint32_t mask = 0;
  std::uint32_t value = 0;
};

inline constexpr std::uint8_t kNoArgument = 6;

struct ClockCall {
  const char* name;
  std::uint16_t number;
  ClockHow how;
  ClockWhen when[2];
  std::uint8_t time;   // the argument that points to the time; kDeadline: none is none
  std::int32_t clock;  // of kTold and kDeadline
  const char* note;
};

namespace clocks {
using enum ClockHow;
inline constexpr std::uint32_t kAll = 0xffffffff;
// FUTEX_PRIVATE_FLAG does not matter; FUTEX_CLOCK_REALTIME must not be set.
inline constexpr std::uint32_t kFutexOperation = ~128U;

constexpr ClockCall told(const char* name, std::int32_t clock) {
  return {name, 228, kTold, {{0, kAll, static_cast<std::uint32_t>(clock)}, {}}, 1, clock, ""};
}
constexpr ClockCall sleep(const char* name, std::int32_t clock) {
  return {name, 230,   kDeadline, {{0, kAll, static_cast<std::uint32_t>(clock)}, {1, 1, 1}},
          2,    clock, ""};
}
constexpr ClockCall futex(const char* name, std::uint32_t operation) {
  return {name, 202, kDeadline, {{1, kFutexOperation, operation}, {}}, 3, 1, ""};
}

// clang-format off
inline constexpr ClockCall clock_calls[] = {
  told("clock_gettime CLOCK_MONOTONIC", 1),
  told("clock_gettime CLOCK_MONOTONIC_RAW", 4),
  told("clock_gettime CLOCK_MONOTONIC_COARSE", 6),
  told("clock_gettime CLOCK_BOOTTIME", 7),
  told("clock_gettime CLOCK_BOOTTIME_ALARM", 9),
  sleep("clock_nanosleep CLOCK_MONOTONIC, TIMER_ABSTIME", 1),
  sleep("clock_nanosleep CLOCK_BOOTTIME, TIMER_ABSTIME", 7),
  sleep("clock_nanosleep CLOCK_BOOTTIME_ALARM, TIMER_ABSTIME", 9),
  futex("futex FUTEX_WAIT_BITSET", 9),
  futex("futex FUTEX_WAIT_REQUEUE_PI", 11),
  futex("futex FUTEX_LOCK_PI2", 13),
  {"futex_waitv", 449, kDeadline, {{4, kAll, 1}, {}}, 3, 1, ""},
  {"futex_wait", 455, kDeadline, {{5, kAll, 1}, {}}, 4, 1, ""},
  {"timer_settime TIMER_ABSTIME", 223, kTimer, {{1, 1, 1}, {}}, 2, 0, "the timer's clock is looked up in /proc/self/timers"},
  {"timerfd_settime TFD_TIMER_ABSTIME", 286, kTimerFd, {{1, 1, 1}, {}}, 2, 0, "the timer's clock is looked up in /proc/self/fdinfo"},
  {"sysinfo", 99, kUptime, {}, 0, 7, ""},
  {"times", 100, kTicks, {}, kNoArgument, 1, ""},
  {"read", 0, kHole, {}, kNoArgument, 0, "/proc/uptime, the time at which a process began in /proc/PID/stat, and other files that tell times since the host's start; events of input devices, cameras, sound cards and perf on CLOCK_MONOTONIC"},
  {"bpf", 321, kHole, {}, kNoArgument, 0, "bpf_ktime_get_ns() is the host's"},
};
// clang-format on
}  // namespace clocks
using clocks::clock_calls;

constexpr bool is_translated(const ClockCall& call) { return call.how != ClockHow::kHole; }

constexpr bool fits(const ClockCall& call, const std::uint64_t* args) {
  for (const ClockWhen& when : call.when) {
    if ((static_cast<std::uint32_t>(args[when.argument]) & when.mask) != when.value) return false;
  }
  return call.how != ClockHow::kDeadline || args[call.time] != 0;
}

// The row of a call; null if it is none of ours.
constexpr const ClockCall* find_clock_call(std::int64_t number, const std::uint64_t* args) {
  for (const ClockCall& call : clock_calls) {
    if (call.number == number && is_translated(call) && fits(call, args)) return &call;
  }
  return nullptr;
}

}  // namespace torpor::agent
