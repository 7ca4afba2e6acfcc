#include "resource/unix_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/time.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "resource/file_kind.h"
#include "resource/unix_socket_test_support.h"

namespace torpor::resource {
namespace {

// The sockets of a model, made again: in the order of its open files.
struct Restored {
  explicit Restored(const snapshot::Computation& model) {
    const auto kind = make_unix_socket_kind();
    state.model = &model;
    for (const snapshot::OpenFile& file : model.open_files()) {
      EXPECT_TRUE(kind->made(file));
      state.open_files[file.id()] = kind->restore(file, state);
    }
    process::HeldProcess holder;
    for (const snapshot::OpenFile& file : model.open_files()) {
      kind->finish_restore(file, state, holder, 0);
    }
  }
  int socket(std::uint64_t id) { return state.open_files.at(id).get(); }
  RestoreState state;
};

std::string read_from(int fd) {
  std::string data(1000, '\0');
  const ssize_t got = ::recv(fd, data.data(), data.size(), MSG_DONTWAIT);
  if (got < 0) return std::string("error ") + std::to_string(errno);
  data.resize(static_cast<std::size_t>(got));
  return data;
}

int error_of(int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

const std::string kWouldWait = "error " + std::to_string(EAGAIN);

TEST(UnixSocket, BothSidesComeBackConnected) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    const SocketPair pair(type);
    ASSERT_EQ(::write(pair.one.get(), "to other", 8), 8);
    ASSERT_EQ(::write(pair.other.get(), "to one", 6), 6);
    SocketCapture capture({pair.one.get(), pair.other.get()});
    EXPECT_FALSE(capture.check(0));
    EXPECT_FALSE(capture.check(1));
    capture.run();
    ASSERT_EQ(capture.model.socket_pairs_size(), 1);
    EXPECT_EQ(capture.model.socket_pairs(0).type(), type);
    EXPECT_EQ(read_from(pair.other.get()), "to other") << "consumed";

    Restored restored(capture.model);
    EXPECT_EQ(read_from(restored.socket(1)), "to one");
    EXPECT_EQ(read_from(restored.socket(2)), "to other");
    EXPECT_EQ(read_from(restored.socket(1)), kWouldWait);
    ASSERT_EQ(::write(restored.socket(2), "new", 3), 3);
    EXPECT_EQ(read_from(restored.socket(1)), "new");
  }
}

TEST(UnixSocket, ClosedSideIsEndOfFileAfterTheData) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    SocketPair pair(type);
    ASSERT_EQ(::write(pair.other.get(), "last", 4), 4);
    pair.other.reset();
    SocketCapture capture({pair.one.get()});
    EXPECT_FALSE(capture.check(0));
    capture.run();
    Restored restored(capture.model);
    EXPECT_EQ(read_from(restored.socket(1)), "last");
    EXPECT_EQ(read_from(restored.socket(1)), "");
    EXPECT_EQ(::send(restored.socket(1), "x", 1, MSG_NOSIGNAL), -1);
    EXPECT_EQ(errno, EPIPE);
  }
}

TEST(UnixSocket, ClosedDatagramSideRefusesConnections) {
  SocketPair pair(SOCK_DGRAM);
  ASSERT_EQ(::write(pair.other.get(), "last", 4), 4);
  pair.other.reset();
  SocketCapture capture({pair.one.get()});
  EXPECT_FALSE(capture.check(0));
  capture.run();
  Restored restored(capture.model);
  EXPECT_EQ(read_from(restored.socket(1)), "last");
  EXPECT_EQ(::send(restored.socket(1), "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
}

TEST(UnixSocket, PendingResetComesBack) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    SocketPair pair(type);
    ASSERT_EQ(::write(pair.one.get(), "unread", 6), 6);
    pair.other.reset();
    SocketCapture capture({pair.one.get()});
    capture.run();
    Restored restored(capture.model);
    EXPECT_EQ(error_of(restored.socket(1)), ECONNRESET) << "type " << type;
    EXPECT_EQ(error_of(pair.one.get()), ECONNRESET) << "looking has taken it away";
  }
}

TEST(UnixSocket, HalfClosedPairs) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    const SocketPair pair(type);
    ASSERT_EQ(::write(pair.one.get(), "data", 4), 4);
    ::shutdown(pair.one.get(), SHUT_WR);
    SocketCapture capture({pair.one.get(), pair.other.get()});
    EXPECT_FALSE(capture.check(0));
    capture.run();
    Restored restored(capture.model);
    EXPECT_EQ(::send(restored.socket(1), "x", 1, MSG_NOSIGNAL), -1);
    EXPECT_EQ(errno, EPIPE);
    EXPECT_EQ(read_from(restored.socket(2)), "data");
    EXPECT_EQ(read_from(restored.socket(2)), type == SOCK_DGRAM ? kWouldWait : "");
    ASSERT_EQ(::write(restored.socket(2), "back", 4), 4);
    EXPECT_EQ(read_from(restored.socket(1)), "back");
  }
}

TEST(UnixSocket, OptionsComeBack) {
  const SocketPair pair(SOCK_STREAM);
  const int size = 30'000;
  const int on = 1;
  const timeval receive{3, 500'000};
  const timeval send{2, 0};
  ::setsockopt(pair.one.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  ::setsockopt(pair.other.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
  ::setsockopt(pair.one.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
  ::setsockopt(pair.other.get(), SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive));
  ::setsockopt(pair.other.get(), SOL_SOCKET, SO_SNDTIMEO, &send, sizeof(send));
  SocketCapture capture({pair.one.get(), pair.other.get()});
  capture.run();
  Restored restored(capture.model);
  EXPECT_TRUE(restored.state.warnings.empty());

  SocketCapture again({restored.socket(1), restored.socket(2)});
  again.run();
  for (int side = 0; side < 2; ++side) {
    const auto& before = capture.model.socket_pairs(0).sides(side);
    const auto& after = again.model.socket_pairs(0).sides(side);
    EXPECT_EQ(before.SerializeAsString(), after.SerializeAsString());
  }
  const auto& one = again.model.socket_pairs(0).sides(0);
  const auto& other = again.model.socket_pairs(0).sides(1);
  EXPECT_EQ(one.send_buffer(), 60'000U);
  EXPECT_TRUE(one.pass_credentials());
  EXPECT_EQ(other.receive_buffer(), 60'000U);
  EXPECT_EQ(other.receive_timeout_us(), 3'500'000);
  EXPECT_EQ(other.send_timeout_us(), 2'000'000);
}

void send_fd(int socket, int fd) {
  char byte = 'd';
  iovec piece{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  cmsghdr* message = CMSG_FIRSTHDR(&header);
  message->cmsg_level = SOL_SOCKET;
  message->cmsg_type = SCM_RIGHTS;
  message->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(message), &fd, sizeof(fd));
  ASSERT_EQ(::sendmsg(socket, &header, 0), 1);
}

int receive_fd(int socket) {
  char byte = 0;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  int fd = -1;
  if (::recvmsg(socket, &header, MSG_DONTWAIT) == 1 && CMSG_FIRSTHDR(&header) != nullptr) {
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(fd));
  }
  return fd;
}

// A socket that is in flight in the queue of another pair, and one in its own queue.
TEST(UnixSocket, SocketsInFlightComeBack) {
  const SocketPair carrier(SOCK_STREAM);
  const SocketPair passenger(SOCK_SEQPACKET);
  ASSERT_EQ(::write(passenger.one.get(), "hello", 5), 5);
  send_fd(carrier.one.get(), passenger.other.get());
  SocketCapture capture(
      {carrier.one.get(), carrier.other.get(), passenger.one.get(), passenger.other.get()});
  // Without the tables of descriptors.cpp: the number in flight is entered by hand.
  snapshot::Computation& model = capture.model;
  capture.views.erase(capture.views.begin(), capture.views.begin() + 2);
  capture.run();
  snapshot::SocketPair& pair = *model.add_socket_pairs();
  pair.set_id(2);
  pair.set_type(SOCK_STREAM);
  pair.add_sides();
  snapshot::SocketMessage& message = *pair.add_sides()->add_incoming();
  message.set_data("d");
  message.add_descriptors(2);
  for (unsigned side = 0; side < 2; ++side) {
    snapshot::OpenFile& file = *model.add_open_files();
    file.set_id(3 + side);
    file.mutable_socket()->set_pair(2);
    file.mutable_socket()->set_side(side);
  }
  Restored restored(model);
  restored.state.open_files.erase(2);  // now it is only in flight
  const base::UniqueFd received(receive_fd(restored.socket(4)));
  ASSERT_TRUE(received);
  EXPECT_EQ(read_from(received.get()), "hello");
  ASSERT_EQ(::write(received.get(), "back", 4), 4);
  EXPECT_EQ(read_from(restored.socket(1)), "back");
}

TEST(UnixSocket, DamagedRecordIsABadImage) {
  snapshot::Computation model;
  snapshot::OpenFile& file = *model.add_open_files();
  file.set_id(1);
  file.mutable_socket()->set_pair(1);
  EXPECT_THROW(Restored{model}, base::Error) << "no pair";
  model.add_socket_pairs()->set_id(1);
  EXPECT_THROW(Restored{model}, base::Error) << "no sides";
  model.mutable_socket_pairs(0)->add_sides();
  model.mutable_socket_pairs(0)->add_sides();
  EXPECT_THROW(Restored{model}, base::Error) << "no type";
  model.mutable_socket_pairs(0)->set_type(SOCK_STREAM);
  file.mutable_socket()->set_side(2);
  EXPECT_THROW(Restored{model}, base::Error) << "a third side";
}

}  // namespace
}  // namespace torpor::resource
