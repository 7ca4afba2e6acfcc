// The supervisor's end of an agent: batches of system calls in another process.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "agent/agent_abi.h"
#include "base/error.h"
#include "base/remote_ptr.h"
#include "base/unique_fd.h"
#include "process/call_list.h"

namespace torpor::process {

class AgentClient;
class Detour;

// System calls to be made in one round trip, in order. Data for them is put first: data() gives the
// address that it will have in the process. A batch that would not fit in a message is refused
// (fits() tells before).
class Batch : public CallList {
 public:
  explicit Batch(AgentClient& agent);

  base::RemotePtr data(std::span<const std::byte> bytes) override;
  base::RemotePtr space(std::size_t bytes) override;
  std::size_t call(std::int64_t number, std::vector<Argument> arguments, std::string what) override;
  std::size_t try_call(std::int64_t number, std::vector<Argument> arguments) override;

  [[nodiscard]] bool fits(std::size_t more_calls, std::size_t more_data) const;
  [[nodiscard]] bool empty() const { return calls_.empty(); }
  [[nodiscard]] std::size_t size() const { return calls_.size(); }

  // Executes. Throws Error with the pid, what the failed call was to do and its errno.
  void run();
  // The same, and fetches the data back for result().
  void run_and_fetch();
  // Executes without waiting for the reply; finish() must follow.
  void start(bool want_data = false);
  void finish();

  [[nodiscard]] std::int64_t result(std::size_t call) const { return calls_.at(call).result; }
  // After run_and_fetch().
  [[nodiscard]] std::span<const std::byte> fetched(base::RemotePtr address,
                                                   std::size_t bytes) const;
  template <typename T>
  [[nodiscard]] T fetched_value(base::RemotePtr address) const {
    T value{};
    std::memcpy(&value, fetched(address, sizeof(T)).data(), sizeof(T));
    return value;
  }

 private:
  std::size_t add(std::int64_t number, const std::vector<Argument>& arguments, bool may_fail);

  AgentClient& agent_;
  std::vector<std::byte> data_;
  std::vector<agent::Call> calls_;
  std::vector<std::string> purposes_;
  bool want_data_ = false;
};

// A live agent in process `pid`. Closing it makes the agent leave the process (if it was injected)
// or ends the process (a husk).
class AgentClient {
 public:
  // `context`: the agent's Context in the process. `pid` is in our own pid namespace.
  AgentClient(base::UniqueFd socket, pid_t pid, base::RemotePtr context, base::RemotePtr code);
  AgentClient(AgentClient&&) = default;
  AgentClient& operator=(AgentClient&&) = default;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] base::RemotePtr context() const { return context_; }
  [[nodiscard]] base::RemotePtr code() const { return code_; }
  [[nodiscard]] base::RemotePtr message_payload() const;
  [[nodiscard]] int socket() const { return socket_.get(); }
  void moved_to(base::RemotePtr context, base::RemotePtr code);
  // Called now and then while a reply is awaited, to look after the agent's thread.
  void set_idle(std::function<void()> idle) { idle_ = std::move(idle); }

  // One system call. Throws as Batch::run does.
  std::int64_t call(std::int64_t number, std::vector<Argument> arguments, std::string what);

  // Descriptor `fd` of the process as one of ours (SCM_RIGHTS).
  base::UniqueFd take_fd(int fd);
  // Makes `fd` of ours descriptor `number` of the process; the agent's own socket must not be
  // there.
  void give_fd(int fd, int number, bool close_on_exec);
  // Many at once, into a table that holds nothing but the agent's socket, above all numbers.
  struct Gift {
    int fd = -1;      // ours
    int number = -1;  // there
    bool close_on_exec = false;
  };
  void give_fds(std::vector<Gift> gifts);
  // The lowest free number gets it; the number is returned.
  int give_fd_anywhere(int fd);

  void send(std::span<const std::byte> message) const;
  // Throws Error program_gone when the process ended, timeout after 30 s.
  std::size_t receive(std::span<std::byte> into) const;

  void close() { socket_.reset(); }
  // Waits until the agent has gone (end of file), at most 5 s.
  void await_end() const;
  // How the process's stopped threads make calls. Null in a husk.
  [[nodiscard]] const Detour* detour() const { return detour_.get(); }
  void set_detour(std::shared_ptr<const Detour> detour) { detour_ = std::move(detour); }

  // The number of the socket in the process.
  [[nodiscard]] int remote_socket() const { return remote_socket_; }
  void set_remote_socket(int fd) { remote_socket_ = fd; }

 private:
  base::UniqueFd socket_;
  pid_t pid_ = 0;
  base::RemotePtr context_;
  base::RemotePtr code_;
  int remote_socket_ = agent::kHuskSocket;
  std::function<void()> idle_;
  std::shared_ptr<const Detour> detour_;
};

}  // namespace torpor::process
