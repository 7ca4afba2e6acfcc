#include "process/stopped_tree.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ranges>
#include <thread>

#include "base/error.h"
#include "process/kcmp.h"
#include "process/proc_stat.h"
#include "process/proc_text.h"
#include "process/proc_tree.h"

namespace torpor::process {
namespace {

using Clock = std::chrono::steady_clock;

bool contains(const std::vector<pid_t>& pids, pid_t pid) {
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

// 'Z' also for one that is gone altogether.
char state_of(pid_t pid, pid_t tid) {
  try {
    return read_stat(pid, tid).state;
  } catch (const base::Error&) {
    return 'Z';
  }
}

std::vector<pid_t> threads_of(pid_t pid) {
  try {
    return list_threads(pid);
  } catch (const base::Error& error) {
    if (error.code() != base::ErrorCode::program_gone) throw;
    return {};
  }
}

bool is_in_group_stop(pid_t pid) {
  const std::vector<pid_t> threads = threads_of(pid);
  return std::any_of(threads.begin(), threads.end(),
                     [pid](pid_t tid) { return state_of(pid, tid) == 'T'; });
}

// A thread that is let go in a group stop takes part in it again by itself, but only when it is
// scheduled; a SIGCONT or SIGKILL may come first.
void await_group_stop(const StoppedProcess& process) {
  constexpr auto kPatience = std::chrono::milliseconds(200);
  const auto deadline = Clock::now() + kPatience;
  for (const Tracee& thread : process.threads) {
    for (;;) {
      const char state = state_of(process.pid, thread.tid());
      if (state == 'T' || state == 'Z' || state == 'X' || Clock::now() > deadline) break;
      ::sched_yield();
    }
  }
}

// Memory that is shared looks the same. So does that of a child which has just been forked, but to
// let that run on for a moment does no harm.
bool have_same_maps(pid_t a, pid_t b) {
  return ProcText(proc_path(a, "maps")).view() == ProcText(proc_path(b, "maps")).view();
}

bool is_vfork_child(pid_t child, pid_t parent) {
  try {
    if (read_stat(child).ppid != parent) return false;
    return is_kcmp_allowed() ? share_memory(child, parent) : have_same_maps(child, parent);
  } catch (const base::Error&) {
    return false;
  }
}

}  // namespace

std::vector<pid_t> members_of(const TreeScope& scope) {
  std::vector<pid_t> members;
  std::vector<pid_t> waiting;
  if (scope.reaper == 0) {
    waiting.push_back(scope.root);
  } else {
    waiting = children_of(scope.reaper);
  }
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    const pid_t pid = waiting[i];
    if (contains(scope.not_ours, pid) || contains(members, pid)) continue;
    try {
      const std::vector<pid_t> children = children_of(pid);
      waiting.insert(waiting.end(), children.begin(), children.end());
      members.push_back(pid);
    } catch (const base::Error& error) {
      if (error.code() != base::ErrorCode::program_gone) throw;
    }
  }
  return members;
}

pid_t living_thread(pid_t pid) {
  for (const pid_t tid : threads_of(pid)) {
    if (state_of(pid, tid) != 'Z') return tid;
  }
  return pid;
}

int StoppedProcess::stop_signal() const {
  for (const Tracee& thread : threads) {
    if (thread.stop_signal() != 0) return thread.stop_signal();
  }
  return 0;
}

StoppedTree StoppedTree::stop(const TreeScope& scope, int patience_ms, unsigned long options) {
  StoppedTree tree;
  tree.options_ = options;
  // A process that a signal has stopped comes last: while we hold it, /proc shows another state of
  // it, which nobody is to see.
  std::vector<pid_t> order = tree.seize_all(scope, patience_ms, Which::not_in_group_stop);
  if (tree.some_left_out_) order = tree.seize_all(scope, patience_ms, Which::all);
  const bool rooted = std::any_of(tree.processes_.begin(), tree.processes_.end(),
                                  [](const StoppedProcess& p) { return !p.zombie; });
  if (!rooted) {
    throw base::Error(base::ErrorCode::program_gone,
                      fmt::format("process {} has ended", scope.root));
  }
  // Orphans move in the tree: bring the order of the last look, parents first.
  const auto rank = [&order](const StoppedProcess& p) {
    return std::find(order.begin(), order.end(), p.pid) - order.begin();
  };
  std::sort(tree.processes_.begin(), tree.processes_.end(),
            [&rank](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return tree;
}

// A scan that finds nothing new, made while everything known is stopped, is the proof that all is
// stopped: only a running thread can make a new one.
std::vector<pid_t> StoppedTree::seize_all(const TreeScope& scope, int patience_ms, Which which) {
  std::vector<pid_t> members = members_of(scope);
  while (seize_new(members, which)) {
    wait_for_all(patience_ms);
    drop_gone();
    members = members_of(scope);
  }
  return members;
}

bool StoppedTree::seize_new(const std::vector<pid_t>& members, Which which) {
  bool found = false;
  some_left_out_ = false;
  std::erase_if(processes_, [&members](const StoppedProcess& process) {
    return process.zombie && !contains(members, process.pid);  // reaped meanwhile
  });
  for (const pid_t pid : members) {
    StoppedProcess* known = find(pid);
    if (known == nullptr) {
      if (which == Which::not_in_group_stop && is_in_group_stop(pid)) {
        some_left_out_ = true;
        continue;
      }
      processes_.push_back(StoppedProcess{pid, false, false, {}});
      known = &processes_.back();
      found = true;
    }
    if (!known->zombie && seize_threads(*known)) found = true;
  }
  return found;
}

bool StoppedTree::seize_threads(StoppedProcess& process) {
  bool found = false;
  bool leader_dead = false;
  std::vector<pid_t> known;
  for (const Tracee& thread : process.threads) known.push_back(thread.tid());
  std::sort(known.begin(), known.end());
  for (const pid_t tid : threads_of(process.pid)) {
    if (std::binary_search(known.begin(), known.end(), tid)) continue;
    std::optional<Tracee> thread = Tracee::seize(process.pid, tid, options_);
    if (thread) {
      thread->interrupt();
      process.threads.push_back(std::move(*thread));
      found = true;
    } else if (tid == process.pid) {
      leader_dead = true;  // or will be, without having run any more of the program
    }
  }
  process.leader_dead = leader_dead;
  process.zombie = process.threads.empty();
  return found;
}

void StoppedTree::interrupt_running() {
  for (StoppedProcess& process : processes_) {
    for (Tracee& thread : process.threads) {
      if (thread.state() == Tracee::State::running) thread.interrupt();
    }
  }
}

// A thread in vfork(2) cannot stop before its child has exec'ed or exited, and the child cannot do
// that while we hold it.
void StoppedTree::help_vfork_parents() {
  for (StoppedProcess& parent : processes_) {
    const bool stuck =
        std::any_of(parent.threads.begin(), parent.threads.end(),
                    [](const Tracee& t) { return t.state() == Tracee::State::running; });
    if (!stuck) continue;
    for (StoppedProcess& child : processes_) {
      if (child.pid == parent.pid || !is_vfork_child(child.pid, parent.pid)) continue;
      for (Tracee& thread : child.threads) {
        if (thread.state() == Tracee::State::stopped) thread.resume();
      }
    }
  }
}

void StoppedTree::wait_for_all(int patience_ms) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(patience_ms);
  auto next_help = Clock::now() + std::chrono::milliseconds(3);
  std::size_t running_before = 0;
  for (;;) {
    std::size_t running = 0;
    const Tracee* stuck = nullptr;
    for (StoppedProcess& process : processes_) {
      for (Tracee& thread : process.threads) {
        if (thread.poll()) continue;
        ++running;
        stuck = &thread;
      }
    }
    if (running == 0) return;
    const auto now = Clock::now();
    if (now > deadline) {
      throw base::Error(
          base::ErrorCode::timeout,
          fmt::format("thread {} of process {} did not stop within {} ms (state {}: a vfork child "
                      "that does not exec, or a system call that cannot be interrupted)",
                      stuck->tid(), stuck->pid(), patience_ms,
                      state_of(stuck->pid(), stuck->tid())),
          "try again later; the program was not changed");
    }
    if (running < running_before) interrupt_running();
    running_before = running;
    if (now > next_help) {
      help_vfork_parents();
      next_help = now + std::chrono::milliseconds(3);
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    } else {
      ::sched_yield();
    }
  }
}

void StoppedTree::drop_gone() {
  for (StoppedProcess& process : processes_) {
    std::erase_if(process.threads,
                  [](const Tracee& t) { return t.state() == Tracee::State::gone; });
    if (process.threads.empty()) process.zombie = true;
  }
}

std::size_t StoppedTree::thread_count() const {
  std::size_t count = 0;
  for (const StoppedProcess& process : processes_) count += process.threads.size();
  return count;
}

StoppedProcess* StoppedTree::find(pid_t pid) {
  const auto found = std::find_if(processes_.begin(), processes_.end(),
                                  [pid](const StoppedProcess& p) { return p.pid == pid; });
  return found == processes_.end() ? nullptr : &*found;
}

void StoppedTree::await_end(int milliseconds) {
  for (StoppedProcess& process : processes_) {
    // The end of the leader is told last, when those of all others have been taken.
    for (Tracee& thread : std::views::reverse(process.threads)) thread.await_end(milliseconds);
  }
}

void StoppedTree::release() {
  std::vector<const StoppedProcess*> in_group_stop;
  for (StoppedProcess& process : processes_) {
    if (process.stop_signal() == 0) continue;
    for (Tracee& thread : process.threads) thread.detach();
    in_group_stop.push_back(&process);
  }
  for (const StoppedProcess* process : in_group_stop) await_group_stop(*process);
  for (StoppedProcess& process : processes_) {
    for (Tracee& thread : process.threads) thread.detach();
  }
}

}  // namespace torpor::process
