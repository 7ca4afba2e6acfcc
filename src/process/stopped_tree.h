// A whole tree of processes, every thread of it stopped.
#pragma once

#include <sys/types.h>

#include <vector>

#include "process/tracee.h"

namespace torpor::process {

// Which processes belong to a computation.
struct TreeScope {
  pid_t root = 0;
  // If not 0: everything below this process belongs to it, orphans that it was given included.
  // If 0: the root and its descendants.
  pid_t reaper = 0;
  std::vector<pid_t> not_ours;  // left out, with all that is below them
};

// The members that are there now, parents before children, zombies included. A process may appear
// or vanish at any time after.
std::vector<pid_t> members_of(const TreeScope& scope);

// Any thread of the process that has not exited: the leader, if it lives. `pid` if none does.
pid_t living_thread(pid_t pid);

struct StoppedProcess {
  pid_t pid = 0;
  bool zombie = false;          // no thread left
  bool leader_dead = false;     // the leader has exited, others have not
  std::vector<Tracee> threads;  // the living ones; the leader first if it lives

  // The id by which /proc and process_vm_readv find the process's memory: a leader that has exited
  // has none any more.
  [[nodiscard]] pid_t memory_pid() const {
    return leader_dead && !threads.empty() ? threads.front().tid() : pid;
  }
  // The signal of the group stop that the process is in, or 0.
  [[nodiscard]] int stop_signal() const;
};

// RAII: all threads go on when it is destroyed.
class StoppedTree {
 public:
  // Stops every thread of every member, and looks again until no new one appears: a tree that
  // forks, execs and exits meanwhile is the normal case. Throws Error timeout when a thread would
  // not stop within `patience_ms` (all go on then), permission, program_gone when no root is left.
  // `options`: PTRACE_O_* for every thread.
  static StoppedTree stop(const TreeScope& scope, int patience_ms, unsigned long options = 0);

  [[nodiscard]] std::vector<StoppedProcess>& processes() { return processes_; }
  [[nodiscard]] const std::vector<StoppedProcess>& processes() const { return processes_; }
  [[nodiscard]] std::size_t thread_count() const;
  StoppedProcess* find(pid_t pid);

  // All processes have been sent SIGKILL: waits until they have ended, so that their parents can
  // know.
  void await_end(int milliseconds);

  // Lets all go on; those in a group stop first, so that their relatives find them in it.
  void release();

 private:
  enum class Which { not_in_group_stop, all };
  // The members at the last look.
  std::vector<pid_t> seize_all(const TreeScope& scope, int patience_ms, Which which);
  bool seize_new(const std::vector<pid_t>& members, Which which);
  bool seize_threads(StoppedProcess& process);
  void wait_for_all(int patience_ms);
  void help_vfork_parents();
  void interrupt_running();
  void drop_gone();

  std::vector<StoppedProcess> processes_;
  unsigned long options_ = 0;
  bool some_left_out_ = false;  // at the last look
};

}  // namespace torpor::process
