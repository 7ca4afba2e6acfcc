#include "image/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace torpor::image {
namespace {

TEST(ParallelFor, DoesEachItemOnce) {
  std::vector<std::atomic<int>> done(1000);
  parallel_for(done.size(), 4, [&] { return [&](std::size_t item) { ++done[item]; }; });
  for (const auto& times : done) EXPECT_EQ(times, 1);
}

TEST(ParallelFor, NothingToDoMakesNoWorker) {
  parallel_for(0, 4, []() -> Worker { throw std::logic_error("a worker was made"); });
}

TEST(ParallelFor, OneItemStaysInTheCallingThread) {
  std::thread::id where;
  parallel_for(1, 8, [&] { return [&](std::size_t) { where = std::this_thread::get_id(); }; });
  EXPECT_EQ(where, std::this_thread::get_id());
}

TEST(ParallelFor, FirstExceptionStopsAllAndComesOut) {
  std::atomic<int> begun{0};
  const auto make = [&] {
    return [&](std::size_t item) {
      ++begun;
      if (item == 10) throw std::runtime_error("item 10");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
  };
  EXPECT_THROW(parallel_for(100000, 4, make), std::runtime_error);
  EXPECT_LT(begun, 1000);
}

TEST(ParallelFor, ExceptionOfAWorkerBeingMadeComesOut) {
  EXPECT_THROW(
      parallel_for(5, 3, []() -> Worker { throw std::runtime_error("no memory for buffers"); }),
      std::runtime_error);
}

}  // namespace
}  // namespace torpor::image
