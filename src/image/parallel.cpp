#include "image/parallel.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace torpor::image {

namespace {

class Team {
 public:
  Team(std::size_t count, const std::function<Worker()>& make_worker)
      : count_(count), make_worker_(make_worker) {}

  void work() noexcept {
    try {
      const Worker worker = make_worker_();
      for (std::size_t item = next_++; item < count_ && !failed_; item = next_++) worker(item);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failed_.exchange(true)) failure_ = std::current_exception();
    }
  }

  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  const std::size_t count_;
  const std::function<Worker()>& make_worker_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::exception_ptr failure_;
};

// Threads inherit the mask of the one that starts them.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

// As many as can be had: the calling thread works too, so none is enough.
std::vector<std::thread> start(Team& team, std::size_t threads) {
  const AllSignalsBlocked blocked;
  std::vector<std::thread> started;
  started.reserve(threads);
  try {
    while (started.size() < threads) started.emplace_back([&team] { team.work(); });
  } catch (const std::system_error&) {
    // EAGAIN: a limit on threads; it goes slower then
  }
  return started;
}

}  // namespace

void parallel_for(std::size_t count, unsigned workers, const std::function<Worker()>& make_worker) {
  if (count == 0) return;
  Team team(count, make_worker);
  const std::size_t helpers = std::min<std::size_t>(count, std::max(workers, 1U)) - 1;
  std::vector<std::thread> threads = start(team, helpers);
  team.work();
  for (std::thread& thread : threads) thread.join();
  team.rethrow();
}

unsigned default_workers() { return std::clamp(2 * std::thread::hardware_concurrency(), 2U, 8U); }

}  // namespace torpor::image
