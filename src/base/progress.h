// How far a long operation is, and a way to slow it down or to stop it from another thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/error.h"

namespace torpor::base {

// Thrown by an operation whose Progress was cancelled. It is no failure of anything.
class Cancelled : public Error {
 public:
  explicit Cancelled(std::string_view operation);
};

// Shared by the thread that wants to know and the threads that work; every member may be used from
// any thread at any time. It must outlive the operation.
class Progress {
 public:
  std::atomic<std::uint64_t> bytes_total{0};  // grows while the amount is being found out
  std::atomic<std::uint64_t> bytes_done{0};
  std::atomic<bool> cancelled{false};
  // Throttle: at most that much per second, on average since the first advance(); 0: no limit.
  std::atomic<std::uint64_t> bytes_per_second{0};

  // Counts `bytes` as done and sleeps as long as the throttle demands (woken by nothing but checks
  // `cancelled` every 50 ms). Throws Cancelled "<operation> was cancelled".
  void advance(std::uint64_t bytes, std::string_view operation);

  // Throws Cancelled if cancelled.
  void check(std::string_view operation) const;

 private:
  void sleep_for_throttle(std::uint64_t bytes, std::string_view operation);

  std::atomic<std::int64_t> next_allowed_ns_{0};  // CLOCK_MONOTONIC
};

}  // namespace torpor::base
