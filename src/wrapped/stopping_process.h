// One process on its way to a stop from inside: the order, its checkpoint thread, its other
// threads.
#pragma once

#include <signal.h>

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "process/agent_client.h"
#include "process/held_process.h"
#include "process/proc_syscall.h"
#include "process/remote_memory.h"
#include "process/resident_view.h"
#include "wrapped/group_stop.h"
#include "wrapped/listener.h"
#include "wrapped/parked_thread.h"

namespace torpor::wrapped {

// RAII: its threads go on when it is destroyed.
class StoppingProcess {
 public:
  // `stop`: a number greater than that of every earlier stop, of which `log` tells.
  StoppingProcess(pid_t pid, const Computation& computation, std::uint64_t stop, Listener& listener,
                  CallLog& log);
  StoppingProcess(const StoppingProcess&) = delete;
  StoppingProcess& operator=(const StoppingProcess&) = delete;
  ~StoppingProcess();

  [[nodiscard]] pid_t pid() const { return pid_; }
  // By which its program knows it.
  [[nodiscard]] pid_t seen_pid() const;
  [[nodiscard]] bool is_connected() const { return client_.has_value(); }
  [[nodiscard]] std::size_t thread_count() const { return parked_.size(); }

  // Sends the order. May be repeated: a process in the middle of an exec, or in a moment of its
  // agent's own, does not hear it. False if the process has ended.
  bool order();
  // A signal has stopped it, which /proc tells: sends the order to every thread, and lets it go on,
  // so that all come to the handler and none to the program. It is stopped again by release(), or
  // if we are gone. Throws Error refused if it cannot be told. False if that is not possible now.
  bool wake();
  [[nodiscard]] const std::optional<GroupStop>& group_stop() const { return group_stop_; }
  // True once its checkpoint thread has connected.
  bool connect(int milliseconds);
  // Sends the order to threads that have not got it, and looks who has stopped. True when all have.
  bool stop_threads();
  // When all have stopped: the checkpoint thread gives way to one that has the program's
  // descriptors.
  void hand_over();

  // Before any child of it is woken; and when that has been, which it is not to learn.
  void note_child_signal() { had_child_signal_ = has_pending(pid_, SIGCHLD); }
  void forget_child_signal();
  // When a child, which knows itself by this pid, has been stopped again.
  void forget_stop_of(pid_t child, bool collected);

  // After hand_over(). Pointers into it stay valid as long as this lives.
  process::HeldProcess held();
  [[nodiscard]] const process::ResidentView& view() const { return *view_; }
  void release();

 private:
  struct Seen {
    std::optional<process::BlockedSyscall> call;
    bool ordered = false;
    bool parked = false;
  };

  void take(Connection connection);
  void make_room(std::size_t threads);
  void look_and_order(const std::vector<pid_t>& tids);
  void look_at_leader();
  void note(pid_t tid, const std::optional<process::BlockedSyscall>& call);
  void add_parked(base::RemotePtr place, const agent::ParkedThread& parked);
  void tell_to_stop_again();
  [[nodiscard]] bool hears_orders() const;
  [[nodiscard]] siginfo_t order_info() const;
  [[nodiscard]] std::vector<agent::ParkedThread> read_places() const;
  std::vector<pid_t> living_threads() const;

  pid_t pid_;
  const Computation& computation_;
  std::uint64_t stop_;
  Listener& listener_;
  CallLog& log_;
  std::optional<process::AgentClient> client_;
  std::optional<process::RemoteMemory> memory_;
  std::optional<process::ResidentView> view_;
  pid_t agent_tid_ = 0;
  std::size_t room_ = 0;
  std::map<pid_t, Seen> threads_;
  std::vector<std::unique_ptr<ParkedThread>> parked_;
  bool leader_dead_ = false;
  std::int64_t clock_ahead_ns_ = 0;      // its CLOCK_MONOTONIC, before ours
  std::optional<GroupStop> group_stop_;  // that it was in
  bool had_child_signal_ = false;
};

}  // namespace torpor::wrapped
