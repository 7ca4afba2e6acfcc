// How far a long operation is, and a way to slow it down or to stop it from another thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

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
  // Throttle: at most that much per second, all workers together; 0: no limit.
  std::atomic<std::uint64_t> bytes_per_second{0};

  // Counts `bytes` as done and sleeps as long as the throttle demands; looks every 50 ms whether it
  // was cancelled or the throttle lifted. Throws Cancelled "<operation> was cancelled".
  void advance(std::uint64_t bytes, std::string_view operation);

  // Throws Cancelled if cancelled.
  void check(std::string_view operation) const;

 private:
  std::int64_t book(std::int64_t duration_ns);
  void sleep_until(std::int64_t end_ns, std::string_view operation) const;

  std::atomic<std::int64_t> booked_until_ns_{0};  // CLOCK_MONOTONIC
};

}  // namespace torpor::base
