#include "wrapped/quiesced_tree.h"

#include <sys/wait.h>
#include <unistd.h>

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
constexpr std::chrono::milliseconds kWakePatience{1000};

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

void forget_stop_of_child(pid_t pid) {
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WNOHANG);
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

QuiescedTree::~QuiescedTree() {
  try {
    release();
  } catch (const base::Error&) {
    // What is left finds its socket closed, and goes on by itself.
  }
}

void QuiescedTree::stop_all(const process::TreeScope& scope, int patience_ms) {
  stop_some(scope, patience_ms, Which::not_in_group_stop);
  if (some_left_out_) {
    for (auto& [pid, process] : stopping_) process->note_child_signal();
    stop_some(scope, patience_ms, Which::all);
    forget_child_signals();
  }
  if (stopping_.empty()) {
    throw base::Error(base::ErrorCode::program_gone,
                      fmt::format("process {} has ended", scope.root));
  }
  for (auto& [pid, process] : stopping_) process->hand_over();
  hold_all();
  forget_ended_threads();
}

void QuiescedTree::forget_ended_threads() {
  std::set<pid_t> living;
  for (const process::HeldProcess& held : held_) {
    for (const process::StoppedThread* thread : held.threads) living.insert(thread->tid());
  }
  std::erase_if(log_, [&living](const auto& entry) { return !living.contains(entry.first); });
}

// As process::StoppedTree: a look that finds nothing new, made while all known are stopped, is the
// proof that all are.
void QuiescedTree::stop_some(const process::TreeScope& scope, int patience_ms, Which which) {
  which_ = which;
  members_ = process::members_of(scope);
  while (add_new()) {
    advance(patience_ms);
    members_ = process::members_of(scope);
  }
}

// That their children were let go on.
void QuiescedTree::forget_child_signals() {
  std::set<pid_t> parents;
  for (const auto& [pid, process] : stopping_) {
    if (process->group_stop()) parents.insert(process->group_stop()->parent);
  }
  for (const pid_t parent : parents) {
    const auto found = stopping_.find(parent);
    if (found != stopping_.end()) found->second->forget_child_signal();
  }
}

void QuiescedTree::check_managed(pid_t pid) const {
  if (is_managed(pid, computation_)) return;
  throw base::Error(base::ErrorCode::refused, fmt::format("process {}: {}", pid, kNoAgent),
                    kNoAgentRemedy);
}

bool QuiescedTree::add_new() {
  bool found = false;
  some_left_out_ = false;
  std::erase_if(zombies_, [this](pid_t pid) { return !std::ranges::count(members_, pid); });
  for (const pid_t pid : members_) {
    if (stopping_.contains(pid) || zombies_.contains(pid)) continue;
    if (which_ == Which::not_in_group_stop && is_in_group_stop(pid)) {
      some_left_out_ = true;
      continue;
    }
    found = true;
    if (state_of(pid) == 'Z') {
      zombies_.insert(pid);
      continue;
    }
    auto process = std::make_unique<StoppingProcess>(pid, computation_, stop_, listener_, log_);
    if (which_ == Which::all) process->note_child_signal();
    stopping_.emplace(pid, std::move(process));
  }
  return found;
}

// One that is in a vfork, or in the midst of an exec, cannot be told.
void QuiescedTree::wake(StoppingProcess& process) {
  check_managed(process.pid());
  if (process.wake() || Clock::now() < began_ + kWakePatience) return;
  throw base::Error(
      base::ErrorCode::refused,
      fmt::format("process {} is stopped between vfork and exec, or in an exec", process.pid()),
      fmt::format("let it go on (kill -CONT {}) and try again", process.pid()));
}

bool QuiescedTree::is_stopped(StoppingProcess& process, bool order_again) {
  if (order_again && is_in_group_stop(process.pid())) {
    wake(process);
    return false;
  }
  if (!process.is_connected()) {
    if (process.connect(0)) return false;
    if (!order_again) return false;
    const char state = state_of(process.pid());
    if (state == 'Z') throw base::Error(base::ErrorCode::program_gone, "it has ended");
    check_managed(process.pid());
    if (!process.group_stop()) process.order();
    return false;
  }
  return process.stop_threads();
}

void QuiescedTree::advance(int patience_ms) {
  began_ = Clock::now();
  auto next_order = began_;
  for (;;) {
    const auto now = Clock::now();
    const bool order_again = now >= next_order;
    if (order_again) next_order = now + kOrderAgain;
    pid_t running = 0;
    for (auto at = stopping_.begin(); at != stopping_.end();) {
      const pid_t pid = at->first;
      if (which_ == Which::not_in_group_stop && !at->second->is_connected() &&
          is_in_group_stop(pid)) {
        at = stopping_.erase(at);
        continue;
      }
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
    if (now - began_ > std::chrono::milliseconds(patience_ms)) {
      throw base::Error(base::ErrorCode::timeout,
                        fmt::format("process {} did not stop within {} ms (state {})", running,
                                    patience_ms, state_of(running)),
                        "try again later; the program was not changed");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

void QuiescedTree::hold_all() {
  for (const pid_t pid : members_) {
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

// Once it is stopped again, its parent forgets that it was not.
void QuiescedTree::release(StoppingProcess& process) {
  const bool was_stopped = process.is_connected();
  process.release();
  if (!was_stopped || !process.group_stop()) return;
  const GroupStop& stop = *process.group_stop();
  const auto parent = stopping_.find(stop.parent);
  if (parent != stopping_.end()) {
    parent->second->forget_stop_of(process.seen_pid(), stop.collected);
  }
  if (stop.parent == ::getpid() && stop.collected) forget_stop_of_child(process.pid());
}

// Children first: what their stops tell is taken back in their parents.
void QuiescedTree::release() {
  const auto rank = [this](pid_t pid) { return std::ranges::find(members_, pid); };
  std::vector<StoppingProcess*> order;
  for (auto& [pid, process] : stopping_) order.push_back(process.get());
  std::ranges::sort(
      order, [&rank](const auto* a, const auto* b) { return rank(a->pid()) > rank(b->pid()); });
  for (StoppingProcess* process : order) {
    try {
      release(*process);
    } catch (const base::Error& error) {
      // It has been killed meanwhile, or goes on by itself.
      if (error.code() != base::ErrorCode::program_gone) throw;
    }
  }
}

}  // namespace torpor::wrapped
