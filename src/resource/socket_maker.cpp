#include "resource/socket_maker.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>

#include "base/error.h"

namespace torpor::resource {
namespace {

using Ends = std::pair<base::UniqueFd, base::UniqueFd>;

constexpr int kFlags = SOCK_CLOEXEC | SOCK_NONBLOCK;

process::HeldProcess* choose(const RestoreState& state, pid_t pid) {
  const auto wanted = state.processes.find(pid);
  if (wanted != state.processes.end() && wanted->second->agent != nullptr) return wanted->second;
  for (const auto& [number, held] : state.processes) {
    if (held->agent != nullptr) return held;
  }
  return nullptr;
}

struct Address {
  explicit Address(const std::string& name) {
    value.sun_family = AF_UNIX;
    if (name.size() > sizeof(value.sun_path)) {
      throw base::Error(base::ErrorCode::bad_image, "the name of a UNIX socket is too long");
    }
    std::memcpy(value.sun_path, name.data(), name.size());
    // A path ends with a zero, for which there need not be room.
    const bool path = !name.starts_with('\0');
    const std::size_t bytes = std::min(name.size() + (path ? 1 : 0), sizeof(value.sun_path));
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes);
  }
  sockaddr_un value{};
  socklen_t length = 0;
};

int outcome(std::int64_t result) { return result < 0 ? static_cast<int>(result) : 0; }
int here(long result) { return result < 0 ? -errno : 0; }

}  // namespace

SocketMaker::SocketMaker(const RestoreState& state, pid_t pid) : held_(choose(state, pid)) {}

pid_t SocketMaker::pid() const { return held_ == nullptr ? ::getpid() : held_->pid; }

base::UniqueFd SocketMaker::make(int type) const {
  if (held_ == nullptr) {
    base::UniqueFd socket(::socket(AF_UNIX, type | kFlags, 0));
    if (!socket) base::throw_system("cannot make a UNIX socket");
    return socket;
  }
  process::AgentClient& agent = *held_->agent;
  const auto number =
      static_cast<int>(agent.call(SYS_socket, {AF_UNIX, type | kFlags, 0}, "make a UNIX socket"));
  base::UniqueFd taken = agent.take_fd(number);
  agent.call(SYS_close, {number}, "close a socket");
  return taken;
}

Ends SocketMaker::make_pair(int type) const {
  std::array<int, 2> ends{};
  if (held_ == nullptr) {
    if (::socketpair(AF_UNIX, type | kFlags, 0, ends.data()) != 0) {
      base::throw_system("cannot make a pair of sockets");
    }
    return {base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
  }
  process::AgentClient& agent = *held_->agent;
  process::Batch batch(agent);
  const base::RemotePtr numbers = batch.space(sizeof(ends));
  batch.call(SYS_socketpair, {AF_UNIX, type | kFlags, 0, numbers}, "make a pair of sockets");
  batch.run_and_fetch();
  ends = batch.fetched_value<std::array<int, 2>>(numbers);
  Ends taken{agent.take_fd(ends[0]), agent.take_fd(ends[1])};
  process::Batch cleanup(agent);
  for (const int end : ends) cleanup.call(SYS_close, {end}, "close a socket");
  cleanup.run();
  return taken;
}

// One call inside, on a socket of ours.
int SocketMaker::on_socket(int socket, const AddCall& add) const {
  process::AgentClient& agent = *held_->agent;
  const int given = agent.give_fd_anywhere(socket);
  process::Batch batch(agent);
  const std::size_t done = add(batch, given);
  batch.try_call(SYS_close, {given});
  batch.run();
  return outcome(batch.result(done));
}

int SocketMaker::with_name(long number, int socket, const std::string& name) const {
  const Address address(name);
  if (held_ == nullptr) {
    const auto* generic = reinterpret_cast<const sockaddr*>(&address.value);
    return here(number == SYS_bind ? ::bind(socket, generic, address.length)
                                   : ::connect(socket, generic, address.length));
  }
  return on_socket(socket, [&](process::Batch& batch, int given) {
    return batch.try_call(number, {given, batch.value(address.value), address.length});
  });
}

int SocketMaker::bind(int socket, const std::string& name) const {
  return with_name(SYS_bind, socket, name);
}

int SocketMaker::connect(int socket, const std::string& name) const {
  return with_name(SYS_connect, socket, name);
}

int SocketMaker::listen(int socket, int backlog) const {
  if (held_ == nullptr) return here(::listen(socket, backlog));
  return on_socket(socket, [backlog](process::Batch& batch, int given) {
    return batch.try_call(SYS_listen, {given, backlog});
  });
}

int SocketMaker::with_path(long number, const std::string& path, std::uint64_t second,
                           std::uint64_t third) const {
  process::Batch batch(*held_->agent);
  const base::RemotePtr name = batch.data(std::as_bytes(std::span(path.c_str(), path.size() + 1)));
  const std::size_t done = batch.try_call(number, {name, second, third});
  batch.run();
  return outcome(batch.result(done));
}

int SocketMaker::unlink(const std::string& path) const {
  if (held_ == nullptr) return here(::unlink(path.c_str()));
  return with_path(SYS_unlink, path, 0, 0);
}

int SocketMaker::chmod(const std::string& path, mode_t mode) const {
  if (held_ == nullptr) return here(::chmod(path.c_str(), mode));
  return with_path(SYS_chmod, path, mode, 0);
}

int SocketMaker::chown(const std::string& path, uid_t uid, gid_t gid) const {
  if (held_ == nullptr) return here(::lchown(path.c_str(), uid, gid));
  return with_path(SYS_lchown, path, uid, gid);
}

}  // namespace torpor::resource
