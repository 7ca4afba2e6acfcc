#include "resource/unix_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "resource/file_kind.h"
#include "resource/unix_socket_table.h"

namespace torpor::resource {
namespace {

FileView view_of(int fd) {
  FileView view;
  view.pid = ::getpid();
  view.fd = fd;
  view.target = process::fd_target(view.pid, fd);
  view.info = process::read_fdinfo(view.pid, fd);
  ::fstat(fd, &view.status);
  return view;
}

struct Pair {
  explicit Pair(int type) {
    int ends[2];
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) base::throw_system("socketpair");
    one.reset(ends[0]);
    other.reset(ends[1]);
  }
  base::UniqueFd one;
  base::UniqueFd other;
};

// A computation that holds these descriptors of this process.
struct Capture {
  explicit Capture(const std::vector<int>& fds) {
    state.model = &model;
    for (const int fd : fds) {
      const FileView view = view_of(fd);
      state.holders.push_back(
          {.pid = view.pid, .fd = fd, .device = view.status.st_dev, .inode = view.status.st_ino});
      views.push_back(view);
    }
  }

  std::optional<Refusal> check(std::size_t i) const { return kind->check(views.at(i), state); }

  void run() {
    for (const FileView& view : views) {
      EXPECT_TRUE(kind->matches(view, state));
      snapshot::OpenFile& file = *model.add_open_files();
      file.set_id(static_cast<std::uint64_t>(model.open_files_size()));
      kind->capture(view, state, file);
    }
    for (std::size_t i = 0; i < views.size(); ++i) {
      kind->finish_capture(views[i], state, *model.mutable_open_files(static_cast<int>(i)));
    }
  }

  std::unique_ptr<FileKind> kind = make_unix_socket_kind();
  snapshot::Computation model;
  CaptureState state;
  std::vector<FileView> views;
};

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
    const Pair pair(type);
    ASSERT_EQ(::write(pair.one.get(), "to other", 8), 8);
    ASSERT_EQ(::write(pair.other.get(), "to one", 6), 6);
    Capture capture({pair.one.get(), pair.other.get()});
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
    Pair pair(type);
    ASSERT_EQ(::write(pair.other.get(), "last", 4), 4);
    pair.other.reset();
    Capture capture({pair.one.get()});
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
  Pair pair(SOCK_DGRAM);
  ASSERT_EQ(::write(pair.other.get(), "last", 4), 4);
  pair.other.reset();
  Capture capture({pair.one.get()});
  EXPECT_FALSE(capture.check(0));
  capture.run();
  Restored restored(capture.model);
  EXPECT_EQ(read_from(restored.socket(1)), "last");
  EXPECT_EQ(::send(restored.socket(1), "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
}

TEST(UnixSocket, PendingResetComesBack) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    Pair pair(type);
    ASSERT_EQ(::write(pair.one.get(), "unread", 6), 6);
    pair.other.reset();
    Capture capture({pair.one.get()});
    capture.run();
    Restored restored(capture.model);
    EXPECT_EQ(error_of(restored.socket(1)), ECONNRESET) << "type " << type;
    EXPECT_EQ(error_of(pair.one.get()), ECONNRESET) << "looking has taken it away";
  }
}

TEST(UnixSocket, HalfClosedPairs) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    const Pair pair(type);
    ASSERT_EQ(::write(pair.one.get(), "data", 4), 4);
    ::shutdown(pair.one.get(), SHUT_WR);
    Capture capture({pair.one.get(), pair.other.get()});
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
  const Pair pair(SOCK_STREAM);
  const int size = 30'000;
  const int on = 1;
  const timeval receive{3, 500'000};
  const timeval send{2, 0};
  ::setsockopt(pair.one.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  ::setsockopt(pair.other.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
  ::setsockopt(pair.one.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
  ::setsockopt(pair.other.get(), SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive));
  ::setsockopt(pair.other.get(), SOL_SOCKET, SO_SNDTIMEO, &send, sizeof(send));
  Capture capture({pair.one.get(), pair.other.get()});
  capture.run();
  Restored restored(capture.model);
  EXPECT_TRUE(restored.state.warnings.empty());

  Capture again({restored.socket(1), restored.socket(2)});
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

TEST(UnixSocket, UnsavedOptionsAreRefusedByName) {
  const Pair pair(SOCK_STREAM);
  const int position = 3;
  ::setsockopt(pair.one.get(), SOL_SOCKET, SO_PEEK_OFF, &position, sizeof(position));
  Capture capture({pair.one.get(), pair.other.get()});
  try {
    capture.run();
    FAIL() << "not refused";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::ErrorCode::refused);
    EXPECT_NE(std::string(error.what()).find("SO_PEEK_OFF"), std::string::npos);
  }
}

TEST(UnixSocket, OtherSideOutsideIsRefused) {
  const Pair pair(SOCK_STREAM);
  Capture capture({pair.one.get()});
  ASSERT_TRUE(capture.check(0));
  EXPECT_NE(capture.check(0)->reason.find("outside"), std::string::npos);
}

// While something is in flight the other side may be too; the end of the capture decides.
TEST(UnixSocket, OtherSideThatWasNotInFlightIsRefusedInTheEnd) {
  const Pair pair(SOCK_STREAM);
  ASSERT_EQ(::write(pair.other.get(), "x", 1), 1);
  Capture capture({pair.one.get()});
  EXPECT_FALSE(capture.check(0));
  EXPECT_THROW(capture.run(), base::Error);
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
  const Pair carrier(SOCK_STREAM);
  const Pair passenger(SOCK_SEQPACKET);
  ASSERT_EQ(::write(passenger.one.get(), "hello", 5), 5);
  send_fd(carrier.one.get(), passenger.other.get());
  Capture capture(
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

// ---- what is refused

struct Named {
  explicit Named(int type) : socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)) {
    address.sun_family = AF_UNIX;
    const std::string name = "torpor-test-" + std::to_string(::getpid());
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    if (::bind(socket.get(), generic(), length) != 0) base::throw_system("bind");
  }
  const sockaddr* generic() const { return reinterpret_cast<const sockaddr*>(&address); }
  sockaddr_un address{};
  socklen_t length = 0;
  base::UniqueFd socket;
};

void expect_refused(const std::vector<int>& fds, std::size_t which, const std::string& text) {
  const Capture capture(fds);
  ASSERT_TRUE(capture.kind->matches(capture.views[which], capture.state));
  const auto refusal = capture.check(which);
  ASSERT_TRUE(refusal) << text;
  EXPECT_NE(refusal->reason.find(text), std::string::npos) << refusal->reason;
}

TEST(UnixSocket, NamedAndUnconnectedOnesAreRefusedByName) {
  const Named server(SOCK_STREAM);
  expect_refused({server.socket.get()}, 0, "with a name (@torpor-test-");
  ASSERT_EQ(::listen(server.socket.get(), 5), 0);
  expect_refused({server.socket.get()}, 0, "listening");

  const base::UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  expect_refused({client.get()}, 0, "not connected");
  ASSERT_EQ(::connect(client.get(), server.generic(), server.length), 0);
  expect_refused({client.get(), server.socket.get()}, 0, "waits for a listening one");
  const base::UniqueFd accepted(::accept4(server.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
  expect_refused({client.get(), accepted.get()}, 0, "connected to the name @torpor-test-");
  expect_refused({client.get(), accepted.get()}, 1, "with a name");
}

TEST(UnixSocket, OneWayConnectionIsRefused) {
  const Pair pair(SOCK_DGRAM);
  const sockaddr nothing{AF_UNSPEC, {}};
  ASSERT_EQ(::connect(pair.one.get(), &nothing, sizeof(nothing)), 0);
  expect_refused({pair.one.get(), pair.other.get()}, 0, "not connected");
}

TEST(UnixSocket, OtherThingsDoNotMatch) {
  const base::UniqueFd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const base::UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto kind = make_unix_socket_kind();
  EXPECT_FALSE(kind->matches(view_of(tcp.get()), {}));
  EXPECT_FALSE(kind->matches(view_of(null.get()), {}));
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

// ---- the table

TEST(UnixSocketTable, ProcKnowsNameAndState) {
  const Named server(SOCK_STREAM);
  ASSERT_EQ(::listen(server.socket.get(), 5), 0);
  const Pair pair(SOCK_SEQPACKET);
  UnixSocketTable table(false);
  table.add_from_proc(::getpid());
  const UnixSocket* listening = table.find(view_of(server.socket.get()).status.st_ino);
  ASSERT_NE(listening, nullptr);
  EXPECT_TRUE(listening->listening);
  EXPECT_TRUE(listening->name.starts_with("@torpor-test-")) << listening->name;
  const UnixSocket* paired = table.find(view_of(pair.one.get()).status.st_ino);
  ASSERT_NE(paired, nullptr);
  EXPECT_EQ(paired->type, SOCK_SEQPACKET);
  EXPECT_TRUE(paired->connected);
  EXPECT_TRUE(paired->name.empty());
  EXPECT_FALSE(paired->peer_known);
}

}  // namespace
}  // namespace torpor::resource
