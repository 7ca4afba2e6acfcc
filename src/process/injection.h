// Brings the agent into a stopped process, and takes it out again without a trace.
#pragma once

#include <memory>
#include <optional>

#include "process/agent_client.h"
#include "process/stopped_tree.h"

namespace torpor::process {

// One system call made by a stopped thread itself, with its registers borrowed. They are given
// back (set, not yet run) before this returns. `syscall_instruction` is the address of one in the
// process. Should we be killed while it runs, the thread is lost: this is the only such window, a
// few microseconds, and it is used twice per process, to map and to unmap the agent's area.
std::int64_t borrow_thread(Tracee& thread, base::RemotePtr syscall_instruction, std::int64_t number,
                           std::span<const std::uint64_t> arguments);

// The address of a `syscall` instruction in the process: in the vdso, else in any executable
// mapping that does not begin in [not_from, not_to). Throws Error refused if there is none.
base::RemotePtr find_syscall_instruction(pid_t pid, std::uint64_t not_from = 0,
                                         std::uint64_t not_to = 0);

class InjectedAgent {
 public:
  // The process must have a living thread. Afterwards all its threads are stopped as before and
  // the agent serves in a thread of its own. Throws Error; the process is then as it was.
  static std::unique_ptr<InjectedAgent> enter(StoppedProcess& process);
  InjectedAgent(const InjectedAgent&) = delete;
  InjectedAgent& operator=(const InjectedAgent&) = delete;
  // Leaves, if leave() was not called; errors are swallowed (the process may be gone).
  ~InjectedAgent();

  [[nodiscard]] AgentClient& client() { return *client_; }
  [[nodiscard]] base::RemotePtr area() const { return area_; }
  [[nodiscard]] std::size_t area_bytes() const;
  // The agent's own thread, as the process itself sees it.
  [[nodiscard]] pid_t agent_tid() const { return agent_tid_; }

  // Ends the agent's thread and unmaps its area. The threads of the process must be stopped.
  void leave();

 private:
  InjectedAgent(StoppedProcess& process, base::RemotePtr syscall_instruction);
  void map_area();
  void start_agent();
  void await_state(std::uint32_t wanted);
  void look_after_traced_agent();
  void connect();
  void give_up_entering();
  bool agent_is_gone() const;
  void put_thread_back();
  void unmap_area();

  Tracee* thread_;
  pid_t pid_;
  base::RemotePtr syscall_instruction_;
  base::RemotePtr area_;
  Registers saved_{};
  std::uint64_t saved_mask_ = 0;
  bool in_group_stop_ = false;
  bool thread_is_away_ = false;
  std::optional<Tracee> traced_agent_;
  std::optional<AgentClient> client_;
  pid_t agent_tid_ = 0;
  bool present_ = false;
};

}  // namespace torpor::process
