#include "restart/in_parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <future>
#include <thread>
#include <vector>

namespace torpor::restart {

void in_parallel(std::span<Husk* const> husks, const std::function<void(Husk&)>& work) {
  std::atomic<std::size_t> next{0};
  const auto worker = [&] {
    for (std::size_t i = next++; i < husks.size(); i = next++) {
      try {
        work(*husks[i]);
      } catch (...) {
        next = husks.size();
        throw;
      }
    }
  };
  const std::size_t processors = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::future<void>> others;
  for (std::size_t i = 1; i < std::min(processors, husks.size()); ++i) {
    others.push_back(std::async(std::launch::async, worker));
  }
  std::exception_ptr failure;
  const auto keep_first = [&failure](const auto& action) {
    try {
      action();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  };
  keep_first(worker);
  for (std::future<void>& other : others) keep_first([&other] { other.get(); });
  if (failure) std::rethrow_exception(failure);
}

}  // namespace torpor::restart
