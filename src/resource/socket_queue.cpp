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
#include <optional>
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

// What is in a queue goes into a list of messages.
class Collector {
 public:
  Collector(const IdentifyFile& identify, const SeenPid& seen) : identify_(identify), seen_(seen) {}

  void add(std::string_view data, std::span<const base::UniqueFd> descriptors,
           const std::optional<ucred>& sender) {
    snapshot::SocketMessage& message = messages_.emplace_back();
    message.set_data(std::string(data));
    for (const base::UniqueFd& fd : descriptors) message.add_descriptors(identify_(fd.get()));
    if (sender && sender->pid != 0) add_sender(*sender, *message.mutable_credentials());
  }

  Messages take() { return std::move(messages_); }

 private:
  void add_sender(const ucred& sender, snapshot::SenderCredentials& into) const {
    const pid_t pid = seen_(sender.pid);
    if (pid == 0) {
      throw base::Error(
          base::ErrorCode::refused,
          "messages with the credentials of a sender (SO_PASSCRED) that has ended or is "
          "outside of the computation wait in a UNIX socket, and cannot be sent again "
          "in its name",
          "take the checkpoint when the program has read them");
    }
    into.set_pid(pid);
    into.set_uid(sender.uid);
    into.set_gid(sender.gid);
  }

  const IdentifyFile& identify_;
  const SeenPid& seen_;
  Messages messages_;
};

void read_stream(int socket, Collector& messages) {
  const std::size_t total = waiting_bytes(socket);
  if (total == 0) return;
  Peeked peeked = peek(socket, total);
  if (peeked.descriptors.empty() && peeked.length == total) {
    messages.add(peeked.data, {}, peeked.credentials);
    return;
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
    if (plain != 0) messages.add(data.substr(0, plain), {}, peeked.credentials);
    if (plain != data.size()) {
      messages.add(data.substr(plain), peeked.descriptors, peeked.credentials);
    }
    start += data.size();
  }
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
void read_datagrams(int socket, int type, bool ended, Collector& messages) {
  pollfd poll{socket, POLLIN, 0};
  if (::poll(&poll, 1, 0) == 0) return;
  if ((poll.revents & POLLERR) != 0) {
    refuse_messages_behind_error(socket);
    return;
  }
  const bool end_is_empty = type == SOCK_SEQPACKET && ended;
  const std::size_t total = end_is_empty ? waiting_bytes(socket) : 0;
  PeekPosition position(socket);
  position.set(0);
  std::size_t room = kRoom;
  for (std::size_t start = 0;;) {
    const Peeked peeked = peek_datagram(socket, position, start, room);
    if (peeked.nothing || (end_is_empty && peeked.length == 0 && start == total)) return;
    messages.add(peeked.data, peeked.descriptors, peeked.credentials);
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

// A number of bytes or -errno.
std::int64_t try_send(int sender, std::string_view data, std::span<const int> descriptors) {
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
  const ssize_t sent = ::sendmsg(sender, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent >= 0 ? sent : -errno;
}

std::size_t send_with_room(int sender, std::size_t size,
                           const std::function<std::int64_t()>& try_to_send) {
  for (;;) {
    const std::int64_t sent = try_to_send();
    if (sent >= 0) return static_cast<std::size_t>(sent);
    const int error = static_cast<int>(-sent);
    if (!needs_room(error)) {
      base::throw_errno(error, "cannot put back what waited in a UNIX socket");
    }
    make_room(sender, size);
  }
}

std::size_t send_once(int sender, std::string_view data) {
  return send_with_room(sender, data.size(), [&] { return try_send(sender, data, {}); });
}

// What one message holds; a stream may take it in several pieces.
void send_message(int sender, int type, const snapshot::SocketMessage& message,
                  std::span<const int> descriptors, const SendAs& send_as) {
  std::string_view data = message.data();
  do {
    data.remove_prefix(send_with_room(sender, data.size(), [&] {
      return message.has_credentials() && send_as
                 ? send_as(message.credentials(), data, descriptors)
                 : try_send(sender, data, descriptors);
    }));
    descriptors = {};
  } while (type == SOCK_STREAM && !data.empty());
}

}  // namespace

std::vector<snapshot::SocketMessage> read_queue(int socket, int type, bool ended,
                                                const IdentifyFile& identify, const SeenPid& seen) {
  refuse_urgent_data(socket);
  Collector messages(identify, seen);
  if (type == SOCK_STREAM) {
    read_stream(socket, messages);
  } else {
    read_datagrams(socket, type, ended, messages);
  }
  return messages.take();
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
      send_once(sender.get(), message.data());
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
                const FindFile& find, const SendAs& send_as) {
  for (const snapshot::SocketMessage* message : messages) {
    std::vector<int> descriptors;
    for (const std::uint64_t id : message->descriptors()) descriptors.push_back(find(id));
    send_message(sender, type, *message, descriptors, send_as);
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
