#include "resource/socket_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "resource/socket_peek.h"

namespace torpor::resource {
namespace {

struct Pair {
  explicit Pair(int type) : type(type) {
    int ends[2];
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) base::throw_system("socketpair");
    sender.reset(ends[0]);
    receiver.reset(ends[1]);
  }
  int type;
  base::UniqueFd sender;
  base::UniqueFd receiver;
};

// Files to send, told apart by their inode.
struct File {
  File() : fd(::memfd_create("file", MFD_CLOEXEC)) {}
  base::UniqueFd fd;
};

std::uint64_t inode_of(int fd) {
  struct ::stat status {};
  EXPECT_EQ(::fstat(fd, &status), 0);
  return status.st_ino;
}

void send(const Pair& pair, std::string data, const std::vector<int>& fds = {}) {
  snapshot::SocketMessage message;
  message.set_data(std::move(data));
  for (const int fd : fds) message.add_descriptors(static_cast<std::uint64_t>(fd));
  const snapshot::SocketMessage* pointer = &message;
  fill_queue(pair.sender.get(), pair.type, {&pointer, 1},
             [](std::uint64_t id) { return static_cast<int>(id); });
}

std::vector<snapshot::SocketMessage> queue_of(const Pair& pair, bool ended = false) {
  return read_queue(pair.receiver.get(), pair.type, ended, inode_of, [](pid_t) { return 0; });
}

struct Received {
  std::string data;
  std::vector<std::uint64_t> inodes;
  bool operator==(const Received&) const = default;
};

// Reads one message away; none if there is none.
std::optional<Received> receive(int socket, std::size_t room) {
  Received received;
  received.data.resize(room);
  alignas(cmsghdr) std::array<std::byte, 1024> control{};
  iovec piece{received.data.data(), room};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(socket, &header, MSG_DONTWAIT);
  if (got < 0) return std::nullopt;
  received.data.resize(static_cast<std::size_t>(got));
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    for (std::size_t at = CMSG_LEN(0); at < c->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, reinterpret_cast<std::byte*>(c) + at, sizeof(fd));
      received.inodes.push_back(inode_of(fd));
      ::close(fd);
    }
  }
  return received;
}

// What a program would read, call by call.
std::vector<Received> drained(const Pair& pair, std::size_t room) {
  std::vector<Received> all;
  while (auto received = receive(pair.receiver.get(), room)) all.push_back(*received);
  return all;
}

// The queue of `original` in a new pair. `files` are what may be in flight.
Pair copy_of(const Pair& original, const std::vector<int>& files = {}) {
  Pair copy(original.type);
  const auto messages = queue_of(original);
  std::vector<const snapshot::SocketMessage*> pointers;
  pointers.reserve(messages.size());
  for (const auto& message : messages) pointers.push_back(&message);
  fill_queue(copy.sender.get(), copy.type, pointers, [&files](std::uint64_t inode) {
    for (const int fd : files) {
      if (inode_of(fd) == inode) return fd;
    }
    throw std::runtime_error("unknown file");
  });
  return copy;
}

int peek_position(int socket) {
  int value = 0;
  socklen_t length = sizeof(value);
  ::getsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &value, &length);
  return value;
}

std::string long_text(std::size_t length) {
  std::string text(length, '\0');
  for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>(i * 31 + i / 251);
  return text;
}

TEST(SocketQueue, EmptyIsEmpty) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    const Pair pair(type);
    EXPECT_TRUE(queue_of(pair).empty());
    ::shutdown(pair.sender.get(), SHUT_WR);
    EXPECT_TRUE(queue_of(pair, true).empty()) << "at its end, type " << type;
  }
}

TEST(SocketQueue, StreamIsOnePiece) {
  const Pair pair(SOCK_STREAM);
  send(pair, "abc");
  send(pair, "defg");
  const auto queue = queue_of(pair);
  ASSERT_EQ(queue.size(), 1U);
  EXPECT_EQ(queue[0].data(), "abcdefg");
}

TEST(SocketQueue, HalfReadStreamHasTheRest) {
  const Pair pair(SOCK_STREAM);
  send(pair, "abcdef");
  receive(pair.receiver.get(), 2);
  EXPECT_EQ(queue_of(pair).at(0).data(), "cdef");
}

TEST(SocketQueue, DatagramsKeepTheirBounds) {
  for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    const Pair pair(type);
    const std::vector<Received> sent{{"abc", {}}, {"", {}},  {"", {}}, {long_text(100'000), {}},
                                     {"", {}},    {"x", {}}, {"", {}}};
    for (const Received& message : sent) send(pair, message.data);
    const auto queue = queue_of(pair);
    ASSERT_EQ(queue.size(), sent.size()) << "type " << type;
    for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(queue[i].data(), sent[i].data);
  }
}

TEST(SocketQueue, LookingConsumesNothing) {
  const File file;
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    const Pair pair(type);
    send(pair, "one");
    send(pair, "two", {file.fd.get()});
    send(pair, "three");
    const auto first = queue_of(pair);
    EXPECT_EQ(peek_position(pair.receiver.get()), -1);
    const auto second = queue_of(pair);
    ASSERT_EQ(first.size(), second.size());
    std::string all;
    for (const Received& received : drained(pair, 100)) all += received.data;
    EXPECT_EQ(all, "onetwothree");
  }
}

TEST(SocketQueue, DatagramsComeBackWithTheirDescriptors) {
  const File a;
  const File b;
  const std::vector<int> files{a.fd.get(), b.fd.get()};
  for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    const Pair pair(type);
    send(pair, "none");
    send(pair, "two", {b.fd.get(), a.fd.get()});
    send(pair, "", {a.fd.get()});
    const Pair copy = copy_of(pair, files);
    EXPECT_EQ(drained(copy, 100), drained(pair, 100)) << "type " << type;
  }
}

// Byte by byte and at once: descriptors come with the same byte as before.
TEST(SocketQueue, StreamComesBackWithItsDescriptors) {
  const File a;
  const File b;
  const std::vector<int> files{a.fd.get(), b.fd.get()};
  for (const std::size_t room : {1U, 2U, 5U, 100U}) {
    const Pair pair(SOCK_STREAM);
    send(pair, "plain");
    send(pair, "x", {a.fd.get()});
    send(pair, "yz", {b.fd.get(), a.fd.get()});
    send(pair, "more");
    send(pair, "abc", {b.fd.get()});
    const Pair copy = copy_of(pair, files);
    EXPECT_EQ(drained(copy, room), drained(pair, room)) << room << " bytes at a time";
  }
}

TEST(SocketQueue, StreamThatBeginsWithDescriptors) {
  const File a;
  const Pair pair(SOCK_STREAM);
  send(pair, "xyz", {a.fd.get()});
  const auto queue = queue_of(pair);
  ASSERT_EQ(queue.size(), 1U);
  EXPECT_EQ(queue[0].data(), "xyz");
  ASSERT_EQ(queue[0].descriptors_size(), 1);
  EXPECT_EQ(queue[0].descriptors(0), inode_of(a.fd.get()));
}

TEST(SocketQueue, DescriptorsOfAHalfReadPieceAreGone) {
  const File a;
  const Pair pair(SOCK_STREAM);
  send(pair, "xyz", {a.fd.get()});
  receive(pair.receiver.get(), 1);
  const auto queue = queue_of(pair);
  ASSERT_EQ(queue.size(), 1U);
  EXPECT_EQ(queue[0].data(), "yz");
  EXPECT_EQ(queue[0].descriptors_size(), 0);
}

TEST(SocketQueue, NoDescriptorIsLeftBehind) {
  const File a;
  const Pair pair(SOCK_STREAM);
  send(pair, "plain");
  send(pair, "xyz", {a.fd.get()});
  const int before = ::dup(0);
  ::close(before);
  queue_of(pair);
  const int after = ::dup(0);
  ::close(after);
  EXPECT_EQ(before, after);
}

TEST(SocketQueue, EndedQueueKeepsWhatIsInIt) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    const Pair pair(type);
    send(pair, "last");
    ::shutdown(pair.sender.get(), SHUT_WR);
    const auto queue = queue_of(pair, true);
    ASSERT_EQ(queue.size(), 1U) << "type " << type;
    EXPECT_EQ(queue[0].data(), "last");
  }
}

// The kernel cannot show an empty datagram twice: that must at least be noticed.
TEST(SocketQueue, HiddenDatagramsAreMissedInTheAccount) {
  for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    const Pair pair(type);
    send(pair, "abc");
    send(pair, "");
    send(pair, long_text(50'000));
    const auto account = [&pair] {
      int bytes = 0;
      ::ioctl(pair.sender.get(), SIOCOUTQ, &bytes);
      return static_cast<std::uint64_t>(bytes);
    };
    EXPECT_EQ(account(), queue_memory(type, queue_of(pair)));
    const auto second = queue_of(pair);
    ASSERT_EQ(second.size(), 2U) << "this kernel shows it twice";
    EXPECT_GT(account(), queue_memory(type, second));
  }
}

TEST(SocketQueue, LargeQueueFitsIntoASmallBuffer) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    const Pair pair(type);
    ASSERT_TRUE(set_buffer_size(pair.sender.get(), SO_SNDBUF, 400'000));
    send(pair, long_text(150'000));
    Pair copy(type);
    ASSERT_TRUE(set_buffer_size(copy.sender.get(), SO_SNDBUF, 4608));
    const auto messages = queue_of(pair);
    const snapshot::SocketMessage* message = &messages.at(0);
    fill_queue(copy.sender.get(), type, {&message, 1}, nullptr);
    std::string all;
    for (const Received& received : drained(copy, 1'000'000)) all += received.data;
    EXPECT_EQ(all, long_text(150'000)) << "type " << type;
  }
}

TEST(SocketQueue, CredentialsInFlight) {
  const Pair pair(SOCK_STREAM);
  const int on = 1;
  send(pair, "none");  // nobody has asked for any yet
  ::setsockopt(pair.receiver.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
  send(pair, "abc");
  const auto seen = [](pid_t pid) { return pid == ::getpid() ? 4711 : 0; };
  const auto messages = read_queue(pair.receiver.get(), SOCK_STREAM, false, nullptr, seen);
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_FALSE(messages[0].has_credentials());
  EXPECT_EQ(messages[1].data(), "abc");
  EXPECT_EQ(messages[1].credentials().pid(), 4711);
  EXPECT_EQ(messages[1].credentials().uid(), ::getuid());
}

TEST(SocketQueue, CredentialsOfAStrangerAreRefused) {
  const Pair pair(SOCK_STREAM);
  const int on = 1;
  ::setsockopt(pair.receiver.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
  EXPECT_TRUE(queue_of(pair).empty());
  send(pair, "abc");
  try {
    queue_of(pair);
    FAIL() << "not refused";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::ErrorCode::refused);
  }
}

TEST(SocketQueue, UrgentDataIsRefused) {
  const Pair pair(SOCK_STREAM);
  if (::send(pair.sender.get(), "!", 1, MSG_OOB) != 1) GTEST_SKIP() << "none in this kernel";
  EXPECT_THROW(queue_of(pair), base::Error);
}

// The error that a closed, unread other side leaves is the program's to see.
TEST(SocketQueue, LookingLeavesAPendingError) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    Pair pair(type);
    ASSERT_EQ(::send(pair.receiver.get(), "unread", 6, 0), 6);
    if (type == SOCK_STREAM) send(pair, "data");
    pair.sender.reset();
    const auto queue = queue_of(pair, true);
    EXPECT_EQ(queue.size(), type == SOCK_STREAM ? 1U : 0U);
    int error = 0;
    socklen_t length = sizeof(error);
    ::getsockopt(pair.receiver.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    EXPECT_EQ(error, ECONNRESET) << "type " << type;
  }
  Pair pair(SOCK_SEQPACKET);
  ASSERT_EQ(::send(pair.receiver.get(), "unread", 6, 0), 6);
  send(pair, "data");
  pair.sender.reset();
  EXPECT_THROW(queue_of(pair, true), base::Error);
}

}  // namespace
}  // namespace torpor::resource
