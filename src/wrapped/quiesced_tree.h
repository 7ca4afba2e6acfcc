// A whole tree of processes, stopped from inside: what process::StoppedTree is without ptrace.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "process/held_process.h"
#include "process/stopped_tree.h"
#include "wrapped/listener.h"
#include "wrapped/stopping_process.h"

namespace torpor::wrapped {

// RAII: all go on when it is destroyed.
class QuiescedTree {
 public:
  // Stops every thread of every member, and looks again until no new one appears. Throws Error
  // timeout (all go on then), refused for a process without an agent, program_gone when no root is
  // left.
  // Those that a signal has stopped come last, when their parents are stopped.
  static std::unique_ptr<QuiescedTree> stop(const process::TreeScope& scope,
                                            const Computation& computation, int patience_ms,
                                            CallLog& log);

  QuiescedTree(const QuiescedTree&) = delete;
  QuiescedTree& operator=(const QuiescedTree&) = delete;
  ~QuiescedTree();

  // Ready to be captured, parents before children.
  [[nodiscard]] std::vector<process::HeldProcess>& processes() { return held_; }
  [[nodiscard]] std::size_t thread_count() const;
  // Lets all go on.
  void release();
  // After SIGKILL: waits until all have ended.
  void await_end(int milliseconds);

 private:
  enum class Which { not_in_group_stop, all };

  QuiescedTree(const Computation& computation, CallLog& log);
  void stop_all(const process::TreeScope& scope, int patience_ms);
  void stop_some(const process::TreeScope& scope, int patience_ms, Which which);
  bool add_new();
  void check_managed(pid_t pid) const;
  void wake(StoppingProcess& process);
  void forget_child_signals();
  void release(StoppingProcess& process);
  void advance(int patience_ms);
  bool is_stopped(StoppingProcess& process, bool order_again);
  void forget_ended_threads();
  void hold_all();

  const Computation& computation_;
  CallLog& log_;
  std::uint64_t stop_;
  Listener listener_;
  std::map<pid_t, std::unique_ptr<StoppingProcess>> stopping_;
  std::chrono::steady_clock::time_point began_;  // the present wait
  std::set<pid_t> zombies_;
  std::vector<pid_t> members_;  // at the last look, parents before children
  bool some_left_out_ = false;  // at the last look
  Which which_ = Which::not_in_group_stop;
  std::vector<process::HeldProcess> held_;
};

}  // namespace torpor::wrapped
