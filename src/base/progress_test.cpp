#include "base/progress.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace torpor::base {
namespace {

using Clock = std::chrono::steady_clock;

TEST(Progress, CountsWhatSeveralThreadsDo) {
  Progress progress;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 1000; ++k) progress.advance(3, "counting");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(progress.bytes_done, 12000U);
}

TEST(Progress, CancelledNamesTheOperation) {
  Progress progress;
  EXPECT_NO_THROW(progress.check("writing"));
  progress.cancelled = true;
  try {
    progress.advance(1, "writing");
    FAIL() << "not cancelled";
  } catch (const Cancelled& cancelled) {
    EXPECT_STREQ(cancelled.what(), "writing was cancelled");
  }
}

TEST(Progress, ThrottleHoldsForAllThreadsTogether) {
  Progress progress;
  progress.bytes_per_second = 1'000'000;
  const auto begin = Clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 10; ++k) progress.advance(10'000, "writing");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(199));  // 200 kB at 1 MB/s
}

TEST(Progress, CancelEndsALongSleep) {
  Progress progress;
  progress.bytes_per_second = 1;
  const auto begin = Clock::now();
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    progress.cancelled = true;
  });
  EXPECT_THROW(progress.advance(3600, "writing"), Cancelled);
  canceller.join();
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(60));
}

TEST(Progress, LiftingTheThrottleEndsASleep) {
  Progress progress;
  progress.bytes_per_second = 1;
  std::thread lifter([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    progress.bytes_per_second = 0;
  });
  const auto begin = Clock::now();
  EXPECT_NO_THROW(progress.advance(3600, "writing"));
  lifter.join();
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(60));
}

}  // namespace
}  // namespace torpor::base
