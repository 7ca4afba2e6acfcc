// Brings the agent into a stopped process, and takes it out again without a trace.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "process/agent_client.h"
#include "process/detour.h"
#include "process/stopped_tree.h"

namespace torpor::process {

class InjectedAgent {
 public:
  // `called`: as where pidfd_getfd(2) is refused, which is then not tried.
  enum class Reach { automatic, called };

  // The process must have a living thread. Afterwards all its threads are stopped as before and
  // the agent serves in a thread of its own. Throws Error; the process is then as it was.
  static std::unique_ptr<InjectedAgent> enter(StoppedProcess& process,
                                              Reach reach = Reach::automatic);
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
  explicit InjectedAgent(StoppedProcess& process);
  [[nodiscard]] base::RemotePtr context_word(std::size_t offset) const;
  void map_area();
  void start_agent();
  void await_state(std::uint32_t wanted);
  void look_after_traced_agent();
  void connect(Reach reach);
  bool take_socket(int own, int peer);
  // injection_called.cpp
  void be_called(int own, int peer);
  void stop_waiting_thread();
  void send_by_thread(int socket, base::RemotePtr message, std::size_t bytes);
  void expect_to_be_called() const;
  void give_up_entering();
  void put_thread_back();
  void end_agent();
  void await_its_end() const;
  void unmap_area();

  Tracee* thread_;
  pid_t pid_;
  std::int64_t threads_before_;  // those that are ending included
  Detour detour_;
  std::optional<BorrowedThread> borrowed_;
  base::RemotePtr area_;
  bool in_group_stop_ = false;
  bool thread_is_away_ = false;
  std::optional<Tracee> traced_agent_;
  std::optional<AgentClient> client_;
  pid_t agent_tid_ = 0;
  bool present_ = false;
  bool uses_detour_ = true;
};

}  // namespace torpor::process
