#include "base/progress.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace torpor::base {

namespace {

constexpr std::chrono::nanoseconds longest_nap = std::chrono::milliseconds(50);

std::int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

std::int64_t duration_of(std::uint64_t bytes, std::uint64_t bytes_per_second) {
  return static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 /
                                   static_cast<double>(bytes_per_second));
}

}  // namespace

Cancelled::Cancelled(std::string_view operation)
    : Error(ErrorCode::conflict, fmt::format("{} was cancelled", operation)) {}

void Progress::check(std::string_view operation) const {
  if (cancelled.load(std::memory_order_relaxed)) throw Cancelled(operation);
}

void Progress::advance(std::uint64_t bytes, std::string_view operation) {
  bytes_done.fetch_add(bytes, std::memory_order_relaxed);
  check(operation);
  const std::uint64_t rate = bytes_per_second.load(std::memory_order_relaxed);
  if (rate != 0) sleep_until(book(duration_of(bytes, rate)), operation);
}

// The workers queue up for time: each books its share behind what is booked already.
std::int64_t Progress::book(std::int64_t duration_ns) {
  const std::int64_t now = now_ns();
  std::int64_t booked = booked_until_ns_.load();
  std::int64_t end = 0;
  do {
    end = std::max(booked, now) + duration_ns;
  } while (!booked_until_ns_.compare_exchange_weak(booked, end));
  return end;
}

void Progress::sleep_until(std::int64_t end_ns, std::string_view operation) const {
  for (std::int64_t left = end_ns - now_ns(); left > 0; left = end_ns - now_ns()) {
    std::this_thread::sleep_for(std::min(std::chrono::nanoseconds(left), longest_nap));
    check(operation);
    if (bytes_per_second.load(std::memory_order_relaxed) == 0) return;
  }
}

}  // namespace torpor::base
