// One process of a restart in the wrapped mode, from when its memory, descriptors and threads are
// there: its threads park as if they had been stopped from inside, get what they go on with, and
// are let go.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "process/agent_client.h"
#include "process/remote_memory.h"
#include "resource/interrupted_calls.h"
#include "restart/hole.h"
#include "restart/husk_tree.h"
#include "restart/stopped_children.h"
#include "wrapped/listener.h"

namespace torpor::restart {

// A stack for each thread that parks, on which signals may arrive; the leader's is the last.
class ThreadStacks {
 public:
  static constexpr std::uint64_t kBytes = 1 << 15;

  explicit ThreadStacks(const snapshot::Process& process);
  void map(process::AgentClient& agent) const;
  [[nodiscard]] std::uint64_t end_of(std::size_t index) const;
  [[nodiscard]] std::uint64_t end_of_leaders() const { return end_of(count_ - 1); }

 private:
  std::size_t count_;
};

// RAII: ends with the process, unless release() was reached.
class BuiltProcess {
 public:
  // The husk's main thread becomes the program's; its agent is closed. The husk's threads are made.
  BuiltProcess(Husk& husk, const wrapped::Computation& computation, wrapped::Listener& listener);

  // Waits until all of its threads have parked, and gives them registers, signal masks, alternate
  // stacks and interrupted calls. `elapsed_ns` as in resource::begin_call_again().
  void give_registers(const std::map<pid_t, pid_t>& originals, std::int64_t elapsed_ns,
                      resource::WaitLog& waits);
  // The threads, by their ids on this host.
  [[nodiscard]] std::vector<pid_t> thread_ids();
  [[nodiscard]] process::AgentClient& agent() { return *client_; }
  [[nodiscard]] const snapshot::Process& model() const { return model_; }

  // From now on its threads go on if we die.
  void arm();
  // When its children, whose ids are this host's, are released.
  void forget_stops(const StoppedChildren& children);
  // If a signal had stopped it, it is so again when this returns.
  void release();

 private:
  void await_parked();
  void have_it_stopped();
  [[nodiscard]] std::vector<agent::ParkedThread> read_places() const;
  [[nodiscard]] agent::ParkedThread read_place(std::size_t index) const;
  void give(std::size_t index, const snapshot::Thread& saved, std::int64_t elapsed_ns,
            resource::WaitLog& waits);
  std::int64_t begin_call(std::size_t index, std::int64_t number,
                          const std::array<std::uint64_t, 6>& arguments);
  void interrupt(pid_t tid);
  void put_frame(const agent::ParkedThread& place, const snapshot::Thread& saved);
  void put_extended_registers(std::uint64_t at, const snapshot::Thread& saved);

  const snapshot::Process& model_;
  const wrapped::Computation& computation_;
  pid_t pid_;
  std::optional<process::AgentClient> client_;
  std::optional<process::RemoteMemory> memory_;
  std::vector<agent::ParkedThread> places_;
};

}  // namespace torpor::restart
