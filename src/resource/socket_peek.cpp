#include "resource/socket_peek.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace torpor::resource {
namespace {

constexpr std::size_t kMaxDescriptors = 253;  // SCM_MAX_FD
constexpr int kPidfdMessage = 4;              // SCM_PIDFD, since Linux 6.5

std::vector<base::UniqueFd> descriptors_of(const cmsghdr* message) {
  const std::size_t count = (message->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  std::vector<base::UniqueFd> descriptors(count);
  for (std::size_t i = 0; i < count; ++i) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(message) + i * sizeof(fd), sizeof(fd));
    descriptors[i].reset(fd);
  }
  return descriptors;
}

void read_control(msghdr& header, Peeked& peeked) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type == SCM_RIGHTS) peeked.descriptors = descriptors_of(c);
    if (c->cmsg_type == SCM_CREDENTIALS) {
      std::memcpy(&peeked.credentials.emplace(), CMSG_DATA(c), sizeof(ucred));
    }
    if (c->cmsg_type == kPidfdMessage) descriptors_of(c);  // closed at once
  }
}

}  // namespace

PeekPosition::~PeekPosition() {
  const int off = -1;
  ::setsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
}

void PeekPosition::set(std::size_t position) {
  const auto value = static_cast<int>(position);
  if (::setsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &value, sizeof(value)) != 0) {
    base::throw_system("cannot look into the queue of a socket");
  }
}

Peeked peek(int socket, std::size_t room) {
  Peeked peeked;
  peeked.data.resize(room);
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxDescriptors * sizeof(int)) + 4096>
      control{};
  iovec piece{peeked.data.data(), room};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t got =
      ::recvmsg(socket, &header, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
  if (got < 0 && errno != EAGAIN) base::throw_system("cannot look into the queue of a socket");
  if (got < 0) {
    peeked.nothing = true;
    peeked.data.clear();
    return peeked;  // the kernel has not touched the header: what it describes is no message
  }
  peeked.length = static_cast<std::size_t>(got);
  peeked.data.resize(std::min(peeked.length, room));
  read_control(header, peeked);
  if ((header.msg_flags & MSG_CTRUNC) != 0) {
    throw base::Error(base::ErrorCode::io,
                      "cannot receive all descriptors that are in flight in a socket",
                      "raise the limit of open files (ulimit -n)");
  }
  return peeked;
}

// The kernel copies piece by piece, and does not count one of which a part could not be copied
// (net/unix/af_unix.c). The last one cannot: its last byte is to go where nothing is mapped.
std::size_t length_before_last_piece(int socket, std::size_t length) {
  std::string data(length - 1, '\0');
  std::array<iovec, 2> pieces{{{data.data(), data.size()}, {nullptr, 1}}};
  msghdr header{};
  header.msg_iov = pieces.data();
  header.msg_iovlen = pieces.size();
  const ssize_t got = ::recvmsg(socket, &header, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && errno != EFAULT) base::throw_system("cannot look into the queue of a socket");
  return got < 0 ? 0 : static_cast<std::size_t>(got);
}

}  // namespace torpor::resource
