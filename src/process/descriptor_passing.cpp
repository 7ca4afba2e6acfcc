#include "process/descriptor_passing.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "process/agent_client.h"

namespace torpor::process {
namespace {

// A control message that carries `fds`, or room for as many.
std::vector<std::byte> control_message(std::span<const int> fds) {
  std::vector<std::byte> bytes(CMSG_SPACE(fds.size_bytes()));
  cmsghdr header{};
  header.cmsg_level = SOL_SOCKET;
  header.cmsg_type = SCM_RIGHTS;
  header.cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + CMSG_LEN(0), fds.data(), fds.size_bytes());
  return bytes;
}

// The layout is the same here and there: both are x86-64 processes.
msghdr remote_header(Batch& batch, base::RemotePtr control, std::size_t control_bytes) {
  const base::RemotePtr payload = batch.space(1);
  const iovec piece{reinterpret_cast<void*>(payload.address()), 1};
  const base::RemotePtr pieces = batch.value(piece);
  msghdr header{};
  header.msg_iov = reinterpret_cast<iovec*>(pieces.address());
  header.msg_iovlen = 1;
  header.msg_control = reinterpret_cast<void*>(control.address());
  header.msg_controllen = control_bytes;
  return header;
}

}  // namespace

base::RemotePtr remote_sender(Batch& batch, int fd) {
  const std::vector<std::byte> control = control_message({&fd, 1});
  const base::RemotePtr remote_control = batch.data(control);
  return batch.value(remote_header(batch, remote_control, control.size()));
}

RemoteReceiver remote_receiver(Batch& batch, std::size_t count) {
  const std::size_t bytes = CMSG_SPACE(count * sizeof(int));
  const base::RemotePtr control = batch.space(bytes);
  return {batch.value(remote_header(batch, control, bytes)), control + CMSG_LEN(0)};
}

void send_descriptor(int socket, int fd) { send_descriptors(socket, {&fd, 1}); }

void send_descriptors(int socket, std::span<const int> fds) {
  std::vector<std::byte> control = control_message(fds);
  std::byte payload{};
  iovec piece{&payload, 1};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  if (::sendmsg(socket, &header, MSG_NOSIGNAL) != 1) base::throw_system("cannot pass descriptors");
}

base::UniqueFd receive_descriptor(int socket, const std::function<void()>& idle) {
  pollfd wait{socket, POLLIN, 0};
  for (int i = 0; ::poll(&wait, 1, 20) <= 0; ++i) {
    if (i > 1000) throw base::Error(base::ErrorCode::timeout, "no descriptor came");
    if (idle) idle();
  }
  // Peek: a message without a descriptor is the reply that tells why.
  // The kernel puts the sender's credentials first where they were asked for.
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int))>
      control{};
  std::byte payload{};
  iovec piece{&payload, 1};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  std::byte first{};
  const ssize_t length = ::recv(socket, &first, 1, MSG_PEEK | MSG_TRUNC);
  if (length != 1) return {};
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  if (::recvmsg(socket, &header, MSG_CMSG_CLOEXEC) != 1) return {};
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return base::UniqueFd(fd);
  }
  return {};
}

void pass_credentials(int socket) {
  const int on = 1;
  if (::setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0) {
    base::throw_system("cannot ask for credentials on a socket");
  }
}

pid_t receive_with_pid(int socket, void* into, std::size_t bytes, int milliseconds) {
  pollfd wait{socket, POLLIN, 0};
  if (::poll(&wait, 1, milliseconds) <= 0) {
    throw base::Error(base::ErrorCode::timeout, "a process of ours does not answer");
  }
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(ucred))> control{};
  iovec piece{into, bytes};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(socket, &header, 0);
  cmsghdr* c = got > 0 ? CMSG_FIRSTHDR(&header) : nullptr;
  if (c == nullptr || c->cmsg_type != SCM_CREDENTIALS) {
    throw base::Error(base::ErrorCode::program_gone, "a process of ours ended unexpectedly");
  }
  ucred sender{};
  std::memcpy(&sender, CMSG_DATA(c), sizeof(sender));
  return sender.pid;
}

}  // namespace torpor::process
