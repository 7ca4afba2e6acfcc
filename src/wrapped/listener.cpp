#include "wrapped/listener.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "agent/resident/resident_abi.h"
#include "base/error.h"

namespace torpor::wrapped {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kHelloMs = 1000;

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(0, left.count()));
}

bool readable_within(int fd, int milliseconds) {
  pollfd wait{fd, POLLIN, 0};
  return ::poll(&wait, 1, milliseconds) > 0;
}

ucred peer_of(int socket) {
  ucred peer{};
  socklen_t bytes = sizeof(peer);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return {};
  return peer;
}

}  // namespace

Listener::Listener(const Computation& computation)
    : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
  if (!socket_) base::throw_system("cannot make a socket");
  const std::string name = fmt::format("{}{:x}", agent::kSocketPrefix, computation.number);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());  // the abstract space
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0) {
    base::throw_system("cannot listen for the checkpoint threads of computation {:x}",
                       computation.number);
  }
  if (::listen(socket_.get(), SOMAXCONN) != 0) base::throw_system("cannot listen");
}

// Of our own user, or of root; anybody else could only pretend.
void Listener::accept_one() {
  Connection connection;
  connection.socket.reset(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection.socket) return;
  const ucred peer = peer_of(connection.socket.get());
  const uid_t own = ::geteuid();
  if (peer.pid == 0 || (own != 0 && peer.uid != own && peer.uid != 0)) return;
  connection.pid = peer.pid;
  if (!readable_within(connection.socket.get(), kHelloMs)) return;
  const ssize_t got =
      ::recv(connection.socket.get(), &connection.hello, sizeof(connection.hello), 0);
  if (got != sizeof(connection.hello) || connection.hello.magic != agent::kBlobMagic) return;
  waiting_.emplace(connection.pid, std::move(connection));
}

std::optional<Connection> Listener::await(pid_t pid, int milliseconds) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(milliseconds);
  for (;;) {
    if (const auto found = waiting_.find(pid); found != waiting_.end()) {
      Connection connection = std::move(found->second);
      waiting_.erase(found);
      return connection;
    }
    if (!readable_within(socket_.get(), milliseconds_until(deadline))) return std::nullopt;
    accept_one();
  }
}

}  // namespace torpor::wrapped
