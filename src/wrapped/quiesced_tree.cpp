#include "wrapped/quiesced_tree.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"

namespace torpor::wrapped {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kOrderAgain{5};

// 'Z' also for one that is gone altogether.
char state_of(pid_t pid) {
  try {
    const process::Stat stat = process::read_stat(pid);
    if (stat.state == 'X') return 'Z';
    // A leader that has ended while others go on.
    return stat.state == 'Z' && stat.num_threads > 1 ? 'R' : stat.state;
  } catch (const base::Error&) {
    return 'Z';
  }
}

// What is dying closes its sockets before it is a zombie.
bool ends_now(pid_t pid) {
  constexpr int kDyingMs = 500;
  for (int i = 0; i < kDyingMs; ++i) {
    if (state_of(pid) == 'Z') return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

process::HeldProcess held_zombie(pid_t pid, const process::IdView* ids) {
  process::HeldProcess held;
  held.pid = pid;
  held.ids = ids;
  held.seen_pid = held.seen(pid, process::read_status(pid).nspid);
  held.zombie = true;
  return held;
}

}  // namespace

QuiescedTree::QuiescedTree(const Computation& computation, CallLog& log)
    : computation_(computation),
      log_(log),
      stop_(static_cast<std::uint64_t>(base::clock_ns(CLOCK_BOOTTIME))),
      listener_(computation) {}

std::unique_ptr<QuiescedTree> QuiescedTree::stop(const process::TreeScope& scope,
                                                 const Computation& computation, int patience_ms,
                                                 CallLog& log) {
  std::unique_ptr<QuiescedTree> tree(new QuiescedTree(computation, log));
  tree->stop_all(scope, patience_ms);
  return tree;
}

// As process::StoppedTree: a look that finds nothing new, made while all known are stopped, is the
// proof that all are.
void QuiescedTree::stop_all(const process::TreeScope& scope, int patience_ms) {
  std::vector<pid_t> members = process::members_of(scope);
  while (add_new(members)) {
    advance(patience_ms);
    members = process::members_of(scope);
  }
  if (stopping_.empty()) {
    throw base::Error(base::ErrorCode::program_gone,
                      fmt::format("process {} has ended", scope.root));
  }
  for (auto& [pid, process] : stopping_) process->hand_over();
  hold_all(members);
  forget_ended_threads();
}

void QuiescedTree::forget_ended_threads() {
  std::set<pid_t> living;
  for (const process::HeldProcess& held : held_) {
    for (const process::StoppedThread* thread : held.threads) living.insert(thread->tid());
  }
  std::erase_if(log_, [&living](const auto& entry) { return !living.contains(entry.first); });
}

void QuiescedTree::check_managed(pid_t pid) const {
  if (is_managed(pid, computation_)) return;
  throw base::Error(base::ErrorCode::refused,
                    fmt::format("process {} runs without a resident agent: a program of another "
                                "kind than x86-64 ELF, or one that left the computation",
                                pid),
                    "wait until it has ended, or launch the program with --mode external");
}

bool QuiescedTree::add_new(const std::vector<pid_t>& members) {
  bool found = false;
  std::erase_if(zombies_, [&members](pid_t pid) { return !std::ranges::count(members, pid); });
  for (const pid_t pid : members) {
    if (stopping_.contains(pid) || zombies_.contains(pid)) continue;
    found = true;
    if (state_of(pid) == 'Z') {
      zombies_.insert(pid);
      continue;
    }
    auto process = std::make_unique<StoppingProcess>(pid, computation_, stop_, listener_, log_);
    stopping_.emplace(pid, std::move(process));
  }
  return found;
}

bool QuiescedTree::is_stopped(StoppingProcess& process, bool order_again) {
  if (!process.is_connected()) {
    if (process.connect(0)) return false;
    if (!order_again) return false;
    const char state = state_of(process.pid());
    if (state == 'Z') throw base::Error(base::ErrorCode::program_gone, "it has ended");
    check_managed(process.pid());
    process.order();
    return false;
  }
  return process.stop_threads();
}

void QuiescedTree::advance(int patience_ms) {
  const auto began = Clock::now();
  auto next_order = began;
  for (;;) {
    const auto now = Clock::now();
    const bool order_again = now >= next_order;
    if (order_again) next_order = now + kOrderAgain;
    pid_t running = 0;
    for (auto at = stopping_.begin(); at != stopping_.end();) {
      const pid_t pid = at->first;
      try {
        if (!is_stopped(*at->second, order_again)) running = pid;
        ++at;
      } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::program_gone) throw;
        if (!ends_now(pid)) throw;
        at = stopping_.erase(at);
        zombies_.insert(pid);
      }
    }
    if (running == 0) return;
    if (now - began > std::chrono::milliseconds(patience_ms)) {
      throw base::Error(base::ErrorCode::timeout,
                        fmt::format("process {} did not stop within {} ms (state {})", running,
                                    patience_ms, state_of(running)),
                        "try again later; the program was not changed");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

void QuiescedTree::hold_all(const std::vector<pid_t>& members) {
  for (const pid_t pid : members) {
    const auto living = stopping_.find(pid);
    if (living != stopping_.end()) {
      held_.push_back(living->second->held());
    } else if (zombies_.contains(pid)) {
      held_.push_back(held_zombie(pid, computation_.ids));
    }
  }
}

std::size_t QuiescedTree::thread_count() const {
  std::size_t count = 0;
  for (const auto& [pid, process] : stopping_) count += process->thread_count();
  return count;
}

void QuiescedTree::await_end(int milliseconds) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(milliseconds);
  for (const auto& [pid, process] : stopping_) {
    while (state_of(pid) != 'Z' && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

void QuiescedTree::release() {
  for (auto& [pid, process] : stopping_) {
    try {
      process->release();
    } catch (const base::Error& error) {
      // It has been killed meanwhile, or goes on by itself.
      if (error.code() != base::ErrorCode::program_gone) throw;
    }
  }
}

}  // namespace torpor::wrapped
