#include "restart/in_parallel.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

namespace torpor::restart {
namespace {

template <std::size_t N>
std::vector<Husk*> pointers_to(std::array<Husk, N>& husks) {
  std::vector<Husk*> pointers;
  for (Husk& husk : husks) pointers.push_back(&husk);
  return pointers;
}

TEST(InParallel, EachOnce) {
  std::array<Husk, 50> husks;
  std::map<Husk*, int> calls;
  std::mutex lock;
  in_parallel(pointers_to(husks), [&](Husk& husk) {
    const std::lock_guard held(lock);
    ++calls[&husk];
  });
  ASSERT_EQ(calls.size(), husks.size());
  for (const auto& [husk, count] : calls) EXPECT_EQ(count, 1);
}

TEST(InParallel, Nobody) {
  in_parallel({}, [](Husk&) { FAIL(); });
}

TEST(InParallel, FailureEndsItAndIsThrown) {
  std::array<Husk, 1000> husks;
  std::atomic<int> calls{0};
  const auto work = [&calls](Husk&) {
    ++calls;
    throw std::runtime_error("no");
  };
  EXPECT_THROW(in_parallel(pointers_to(husks), work), std::runtime_error);
  EXPECT_LE(calls, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace torpor::restart
