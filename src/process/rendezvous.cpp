#include "process/rendezvous.h"

#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>

#include "base/error.h"

namespace torpor::process {
namespace {

constexpr int kIdleMs = 5;

pid_t maker_of(int connection) {
  ucred maker{};
  socklen_t size = sizeof(maker);
  return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &maker, &size) == 0 ? maker.pid : -1;
}

}  // namespace

Rendezvous::Rendezvous() : listener_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
  address_.sun_family = AF_UNIX;
  auto* address = reinterpret_cast<sockaddr*>(&address_);
  // An address of the family alone is replaced by a free one: unix(7), autobind.
  if (!listener_ || ::bind(listener_.get(), address, sizeof(address_.sun_family)) != 0 ||
      ::listen(listener_.get(), 1) != 0 ||
      ::getsockname(listener_.get(), address, &address_bytes_) != 0) {
    base::throw_system("cannot make a socket that listens");
  }
}

base::UniqueFd Rendezvous::accept_from(pid_t pid, int milliseconds,
                                       const std::function<void()>& idle) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::milliseconds(milliseconds);
  pollfd wait{listener_.get(), POLLIN, 0};
  while (Clock::now() < deadline) {
    if (::poll(&wait, 1, kIdleMs) <= 0) {
      idle();
      continue;
    }
    base::UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection && maker_of(connection.get()) == pid) return connection;
  }
  throw base::Error(base::ErrorCode::timeout, fmt::format("process {} does not connect", pid));
}

}  // namespace torpor::process
