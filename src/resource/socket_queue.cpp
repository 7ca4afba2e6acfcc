#include "resource/socket_queue.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "resource/socket_peek.h"

namespace torpor::resource {
namespace {

constexpr std::size_t kRoom = 65536;

using Messages = std::vector<snapshot::SocketMessage>;

std::size_t waiting_bytes(int socket) {
  int bytes = 0;
  if (::ioctl(socket, SIOCINQ, &bytes) != 0) base::throw_system("cannot look at a socket");
  return static_cast<std::size_t>(bytes);
}

void refuse_urgent_data(int socket) {
  pollfd poll{socket, POLLPRI, 0};
  if (::poll(&poll, 1, 0) == 1 && (poll.revents & POLLPRI) != 0) {
    throw base::Error(base::ErrorCode::refused, "out-of-band data waits in a UNIX socket",
                      "take the checkpoint when the program has read it");
  }
}

void refuse_credentials(const Peeked& peeked) {
  if (!peeked.credentials) return;
  throw base::Error(base::ErrorCode::refused,
                    "messages with the credentials of their sender (SO_PASSCRED) wait in a UNIX "
                    "socket, and cannot be sent again in its name",
                    "take the checkpoint when the program has read them");
}

void append(Messages& messages, std::string_view data, std::span<const base::UniqueFd> descriptors,
            const IdentifyFile& identify) {
  snapshot::SocketMessage& message = messages.emplace_back();
  message.set_data(std::string(data));
  for (const base::UniqueFd& fd : descriptors) message.add_descriptors(identify(fd.get()));
}

Messages read_stream(int socket, const IdentifyFile& identify) {
  Messages messages;
  const std::size_t total = waiting_bytes(socket);
  if (total == 0) return messages;
  Peeked peeked = peek(socket, total);
  refuse_credentials(peeked);
  if (peeked.descriptors.empty() && peeked.length == total) {
    append(messages, peeked.data, {}, identify);
    return messages;
  }
  PeekPosition position(socket);
  for (std::size_t start = 0; start < total;) {
    position.set(start);
    peeked = peek(socket, total - start);
    if (peeked.length == 0) {
      throw base::Error(base::ErrorCode::io, "the queue of a UNIX socket has changed");
    }
    const std::string_view data = peeked.data;
    std::size_t plain = data.size();
    if (!peeked.descriptors.empty()) {
      position.set(start);
      plain = length_before_last_piece(socket, data.size());
    }
    if (plain != 0) append(messages, data.substr(0, plain), {}, identify);
    if (plain != data.size()) append(messages, data.substr(plain), peeked.descriptors, identify);
    start += data.size();
  }
  return messages;
}

// A datagram as a whole, and the position after it.
Peeked peek_datagram(int socket, PeekPosition& position, std::size_t start, std::size_t& room) {
  Peeked peeked = peek(socket, room);
  while (peeked.length > room) {
    room = peeked.length;
    position.set(start);
    peeked = peek(socket, room);
  }
  return peeked;
}

// A look would take the error away that the program has yet to see; only streams are looked into
// without that.
void refuse_messages_behind_error(int socket) {
  if (waiting_bytes(socket) == 0) return;
  throw base::Error(base::ErrorCode::refused,
                    "messages wait in a UNIX socket whose other side was closed without reading",
                    "take the checkpoint when the program has read them");
}

// The end of an ended SOCK_SEQPACKET queue looks like an empty message; it shows no bytes more.
Messages read_datagrams(int socket, int type, bool ended, const IdentifyFile& identify) {
  Messages messages;
  pollfd poll{socket, POLLIN, 0};
  if (::poll(&poll, 1, 0) == 0) return messages;
  if ((poll.revents & POLLERR) != 0) {
    refuse_messages_behind_error(socket);
    return messages;
  }
  const bool end_is_empty = type == SOCK_SEQPACKET && ended;
  const std::size_t total = end_is_empty ? waiting_bytes(socket) : 0;
  PeekPosition position(socket);
  position.set(0);
  std::size_t room = kRoom;
  for (std::size_t start = 0;;) {
    const Peeked peeked = peek_datagram(socket, position, start, room);
    if (peeked.nothing || (end_is_empty && peeked.length == 0 && start == total)) return messages;
    refuse_credentials(peeked);
    append(messages, peeked.data, peeked.descriptors, identify);
    start += peeked.length;
  }
}

std::uint32_t buffer_size(int socket, int option) {
  std::uint32_t bytes = 0;
  socklen_t length = sizeof(bytes);
  if (::getsockopt(socket, SOL_SOCKET, option, &bytes, &length) != 0) {
    base::throw_system("cannot look at the buffers of a socket");
  }
  return bytes;
}

// ---- writing

void make_room(int socket, std::size_t bytes) {
  const std::uint32_t before = buffer_size(socket, SO_SNDBUF);
  const std::uint64_t wanted = std::min<std::uint64_t>(2 * (before + bytes), INT32_MAX - 1);
  set_buffer_size(socket, SO_SNDBUF, static_cast<std::uint32_t>(wanted));
  if (buffer_size(socket, SO_SNDBUF) > before) return;
  throw base::Error(
      base::ErrorCode::permission,
      fmt::format("what waited in a UNIX socket does not fit into a send buffer of {} bytes, the "
                  "most that this user may have",
                  before),
      "raise net.core.wmem_max");
}

bool needs_room(int error) { return error == EAGAIN || error == EMSGSIZE || error == ENOBUFS; }

std::size_t send_once(int sender, std::string_view data, std::span<const int> descriptors) {
  iovec piece{const_cast<char*>(data.data()), data.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  std::vector<std::byte> control(CMSG_SPACE(descriptors.size_bytes()));
  if (!descriptors.empty()) {
    cmsghdr rights{};
    rights.cmsg_level = SOL_SOCKET;
    rights.cmsg_type = SCM_RIGHTS;
    rights.cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(control.data(), &rights, sizeof(rights));
    std::memcpy(control.data() + CMSG_LEN(0), descriptors.data(), descriptors.size_bytes());
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
  for (;;) {
    const ssize_t sent = ::sendmsg(sender, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (!needs_room(errno)) base::throw_system("cannot put back what waited in a UNIX socket");
    make_room(sender, data.size());
  }
}

}  // namespace

std::vector<snapshot::SocketMessage> read_queue(int socket, int type, bool ended,
                                                const IdentifyFile& identify) {
  refuse_urgent_data(socket);
  return type == SOCK_STREAM ? read_stream(socket, identify)
                             : read_datagrams(socket, type, ended, identify);
}

std::uint64_t queue_memory(int type, std::span<const snapshot::SocketMessage> messages) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    base::throw_system("cannot make a pair of sockets");
  }
  const base::UniqueFd sender(ends[0]);
  const base::UniqueFd receiver(ends[1]);
  std::map<std::size_t, std::uint64_t> memory_of;  // by length
  std::uint64_t sum = 0;
  for (const snapshot::SocketMessage& message : messages) {
    std::uint64_t& memory = memory_of[message.data().size()];
    if (memory == 0) {
      int bytes = 0;
      send_once(sender.get(), message.data(), {});
      if (::ioctl(sender.get(), SIOCOUTQ, &bytes) != 0)
        base::throw_system("cannot look at a socket");
      ::recv(receiver.get(), nullptr, 0, 0);
      memory = static_cast<std::uint64_t>(bytes);
    }
    sum += memory;
  }
  return sum;
}

void fill_queue(int sender, int type, std::span<const snapshot::SocketMessage* const> messages,
                const FindFile& find) {
  for (const snapshot::SocketMessage* message : messages) {
    std::vector<int> descriptors;
    for (const std::uint64_t id : message->descriptors()) descriptors.push_back(find(id));
    std::string_view data = message->data();
    data.remove_prefix(send_once(sender, data, descriptors));
    while (type == SOCK_STREAM && !data.empty()) {
      data.remove_prefix(send_once(sender, data, {}));
    }
  }
}

bool set_buffer_size(int socket, int option, std::uint32_t bytes) {
  if (buffer_size(socket, option) == bytes) return true;
  const auto half = static_cast<int>(bytes / 2);  // the kernel doubles it: socket(7)
  const int beyond_limit = option == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
  ::setsockopt(socket, SOL_SOCKET, option, &half, sizeof(half));
  if (buffer_size(socket, option) == bytes) return true;
  ::setsockopt(socket, SOL_SOCKET, beyond_limit, &half, sizeof(half));
  return buffer_size(socket, option) == bytes;
}

}  // namespace torpor::resource
