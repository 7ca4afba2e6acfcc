// Sockets with names: unconnected ones, and connections through them.
#include "resource/lone_socket.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "resource/file_kind.h"
#include "resource/unix_socket_test_support.h"

namespace torpor::resource {
namespace {

constexpr int kStream = SOCK_STREAM | SOCK_CLOEXEC;

struct Address {
  explicit Address(const std::string& name) {
    value.sun_family = AF_UNIX;
    std::memcpy(value.sun_path, name.data(), name.size());
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    if (name.front() == '/') ++length;
  }
  [[nodiscard]] const sockaddr* generic() const {
    return reinterpret_cast<const sockaddr*>(&value);
  }
  sockaddr_un value{};
  socklen_t length = 0;
};

base::UniqueFd bound(const std::string& name, int type = kStream) {
  base::UniqueFd socket(::socket(AF_UNIX, type, 0));
  const Address address(name);
  if (::bind(socket.get(), address.generic(), address.length) != 0) base::throw_system("bind");
  return socket;
}

base::UniqueFd listening(const std::string& name, int backlog = 5) {
  base::UniqueFd socket = bound(name);
  if (::listen(socket.get(), backlog) != 0) base::throw_system("listen");
  return socket;
}

base::UniqueFd connected(const std::string& name) {
  base::UniqueFd socket(::socket(AF_UNIX, kStream, 0));
  const Address address(name);
  if (::connect(socket.get(), address.generic(), address.length) != 0) socket.reset();
  return socket;
}

std::string name_of(int fd, bool of_peer = false) {
  sockaddr_un address{};
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const int done =
      of_peer ? ::getpeername(fd, generic, &length) : ::getsockname(fd, generic, &length);
  if (done != 0) return "error";
  std::string name(address.sun_path, length - offsetof(sockaddr_un, sun_path));
  return name.starts_with('/') ? std::string(name.c_str()) : name;
}

int option_of(int fd, int option) {
  int value = -1;
  socklen_t length = sizeof(value);
  ::getsockopt(fd, SOL_SOCKET, option, &value, &length);
  return value;
}

class LoneSocket : public testing::Test {
 protected:
  LoneSocket() {
    std::string pattern = std::filesystem::temp_directory_path() / "torpor-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    path_ = directory_ + "/socket";
  }
  ~LoneSocket() override { std::filesystem::remove_all(directory_); }
  LoneSocket(const LoneSocket&) = delete;
  LoneSocket& operator=(const LoneSocket&) = delete;

  // As the registry chooses the kind. The sockets are ours, and are closed afterwards.
  void capture(std::vector<base::UniqueFd> sockets) {
    std::vector<int> fds;
    for (const base::UniqueFd& socket : sockets) fds.push_back(socket.get());
    SocketCapture all(fds);
    for (const FileView& view : all.views) {
      snapshot::OpenFile& file = *all.model.add_open_files();
      file.set_id(static_cast<std::uint64_t>(all.model.open_files_size()));
      const FileKind& kind = kind_of(view, all.state);
      const auto refusal = kind.check(view, all.state);
      EXPECT_FALSE(refusal) << refusal->reason;
      kind.capture(view, all.state, file);
    }
    model_ = all.model;
  }

  void restore() {
    state_.model = &model_;
    for (const snapshot::OpenFile& file : model_.open_files()) {
      state_.open_files[file.id()] = kind_that_made(file).restore(file, state_);
    }
    process::HeldProcess holder;
    for (const snapshot::OpenFile& file : model_.open_files()) {
      kind_that_made(file).finish_restore(file, state_, holder, 0);
    }
  }

  std::optional<Refusal> check(std::uint64_t file) {
    state_.model = &model_;
    const snapshot::OpenFile& record = model_.open_files(static_cast<int>(file) - 1);
    return kind_that_made(record).check_restore(record, state_);
  }

  int socket(std::uint64_t file) { return state_.open_files.at(file).get(); }

  std::string directory_, path_;
  snapshot::Computation model_;
  RestoreState state_;
};

TEST_F(LoneSocket, NewOneComesBackWithItsOptions) {
  std::vector<base::UniqueFd> sockets;
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    sockets.emplace_back(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  }
  const int on = 1;
  ::setsockopt(sockets[0].get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
  capture(std::move(sockets));
  restore();
  EXPECT_EQ(option_of(socket(1), SO_TYPE), SOCK_STREAM);
  EXPECT_EQ(option_of(socket(2), SO_TYPE), SOCK_DGRAM);
  EXPECT_EQ(option_of(socket(3), SO_TYPE), SOCK_SEQPACKET);
  EXPECT_EQ(option_of(socket(1), SO_PASSCRED), 1);
  EXPECT_EQ(name_of(socket(1)), "");
}

TEST_F(LoneSocket, ListeningOneAcceptsAgain) {
  for (const std::string& name : {path_, std::string("\0torpor-lone-", 13) + path_}) {
    model_.Clear();
    state_ = RestoreState();
    std::vector<base::UniqueFd> sockets;
    sockets.push_back(listening(name, 1));
    if (name == path_) ::chmod(path_.c_str(), 0640);
    capture(std::move(sockets));
    EXPECT_FALSE(connected(name));
    EXPECT_FALSE(check(1)) << check(1)->reason;
    restore();
    EXPECT_EQ(name_of(socket(1)), name);
    EXPECT_EQ(option_of(socket(1), SO_ACCEPTCONN), 1);
    const base::UniqueFd client = connected(name);
    ASSERT_TRUE(client);
    EXPECT_TRUE(connected(name)) << "room for a second";
    const base::UniqueFd accepted(::accept4(socket(1), nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_TRUE(accepted);
    struct ::stat file {};
    if (name == path_) {
      ASSERT_EQ(::stat(path_.c_str(), &file), 0);
      EXPECT_EQ(file.st_mode & 0777U, 0640U);
    }
  }
}

TEST_F(LoneSocket, ConnectionsThroughTheNameComeBackWithIt) {
  std::vector<base::UniqueFd> sockets;
  sockets.push_back(listening(path_));
  for (int i = 0; i < 3; ++i) {
    sockets.push_back(connected(path_));
    sockets.emplace_back(::accept4(sockets[0].get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  ASSERT_EQ(::write(sockets[3].get(), "question", 8), 8);
  ASSERT_EQ(::write(sockets[4].get(), "answer", 6), 6);
  capture(std::move(sockets));
  restore();
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(name_of(socket(3 + 2 * i)), path_);
    EXPECT_EQ(name_of(socket(2 + 2 * i), true), path_);
    EXPECT_EQ(name_of(socket(2 + 2 * i)), "");
  }
  char bytes[20]{};
  EXPECT_EQ(::recv(socket(5), bytes, sizeof(bytes), MSG_DONTWAIT), 8);
  EXPECT_EQ(::recv(socket(4), bytes, sizeof(bytes), MSG_DONTWAIT), 6);
  EXPECT_TRUE(connected(path_));
}

// The server has gone on to another path, or is only started for one connection.
TEST_F(LoneSocket, ConnectionOutlivesItsListeningSocketAndFile) {
  base::UniqueFd listener = listening(path_);
  std::vector<base::UniqueFd> sockets;
  sockets.push_back(connected(path_));
  sockets.emplace_back(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ::unlink(path_.c_str());
  listener = listening(path_);  // another one of the same name
  sockets.push_back(std::move(listener));
  capture(std::move(sockets));
  EXPECT_EQ(model_.socket_names_size(), 2);
  restore();
  EXPECT_EQ(name_of(socket(2)), path_);
  EXPECT_EQ(name_of(socket(3)), path_);
  ASSERT_TRUE(connected(path_));
  EXPECT_GE(::accept4(socket(3), nullptr, nullptr, SOCK_CLOEXEC), 0);
}

TEST_F(LoneSocket, ClientWithANameKeepsIt) {
  const std::string own = directory_ + "/own";
  std::vector<base::UniqueFd> sockets;
  const base::UniqueFd listener = listening(path_);
  sockets.push_back(bound(own));
  const Address address(path_);
  ASSERT_EQ(::connect(sockets[0].get(), address.generic(), address.length), 0);
  sockets.emplace_back(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  sockets.emplace_back(listener.get() < 0 ? -1 : ::dup(listener.get()));
  capture(std::move(sockets));
  const_cast<base::UniqueFd&>(listener).reset();
  restore();
  EXPECT_EQ(name_of(socket(1)), own);
  EXPECT_EQ(name_of(socket(2), true), own);
  EXPECT_EQ(name_of(socket(2)), path_);
}

TEST_F(LoneSocket, BoundDatagramsAreReceivedAgain) {
  std::vector<base::UniqueFd> sockets;
  sockets.push_back(bound(path_, SOCK_DGRAM | SOCK_CLOEXEC));
  sockets.emplace_back(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  capture(std::move(sockets));
  restore();
  const Address address(path_);
  EXPECT_EQ(::sendto(socket(2), "letter", 6, 0, address.generic(), address.length), 6);
  char bytes[20]{};
  EXPECT_EQ(::recv(socket(1), bytes, sizeof(bytes), MSG_DONTWAIT), 6);
}

void expect_refused(const base::UniqueFd& socket, const std::string& text) {
  SocketCapture all({socket.get()});
  const FileKind& kind = kind_of(all.views[0], all.state);
  std::string said;
  try {
    if (const auto refusal = kind.check(all.views[0], all.state)) said = refusal->reason;
    if (said.empty()) kind.capture(all.views[0], all.state, *all.model.add_open_files());
  } catch (const base::Error& error) {
    said = error.what();
  }
  EXPECT_NE(said.find(text), std::string::npos) << said;
}

TEST_F(LoneSocket, WhatWaitsIsRefusedByName) {
  const base::UniqueFd listener = listening(path_);
  const base::UniqueFd client = connected(path_);
  expect_refused(listener, "1 connections wait to be accepted at the UNIX socket " + path_);
  const auto here = std::filesystem::current_path();
  std::filesystem::current_path(directory_);
  const base::UniqueFd relative = bound("relative");
  std::filesystem::current_path(here);
  expect_refused(relative, "bound to the relative path relative");
  const std::string letters = directory_ + "/letters";
  const base::UniqueFd letter_box = bound(letters, SOCK_DGRAM | SOCK_CLOEXEC);
  const base::UniqueFd sender(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const Address address(letters);
  ASSERT_EQ(::sendto(sender.get(), "x", 1, 0, address.generic(), address.length), 1);
  expect_refused(letter_box, "datagrams wait in the UNIX socket " + letters);
}

TEST_F(LoneSocket, NameInUseIsRefusedBeforeAnythingIsMade) {
  std::vector<base::UniqueFd> sockets;
  sockets.push_back(listening(path_));
  capture(std::move(sockets));
  EXPECT_FALSE(check(1)) << "the file left over is no obstacle";
  ::unlink(path_.c_str());
  {
    const base::UniqueFd stranger = listening(path_);
    ASSERT_TRUE(check(1));
    EXPECT_NE(check(1)->reason.find(path_ + " of a UNIX socket is in use"), std::string::npos);
    pollfd waiting{stranger.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&waiting, 1, 0), 0) << "it noticed";
    EXPECT_THROW(restore(), base::Error);
    EXPECT_TRUE(connected(path_)) << "the stranger's name was taken away";
  }
  ::unlink(path_.c_str());
  std::ofstream(path_) << "a file";
  ASSERT_TRUE(check(1));
  EXPECT_NE(check(1)->reason.find("something else"), std::string::npos);
  std::filesystem::remove_all(directory_);
  ASSERT_TRUE(check(1));
  EXPECT_NE(check(1)->reason.find("cannot be made"), std::string::npos);
}

TEST_F(LoneSocket, DamagedRecordIsABadImage) {
  snapshot::OpenFile& file = *model_.add_open_files();
  file.set_id(1);
  file.mutable_lone_socket()->set_type(SOCK_STREAM);
  file.mutable_lone_socket()->mutable_options()->set_name(7);
  EXPECT_THROW(static_cast<void>(check(1)), base::Error);
  model_.add_socket_names()->set_id(7);
  EXPECT_THROW(static_cast<void>(check(1)), base::Error) << "no bytes";
  model_.mutable_socket_names(0)->set_name(std::string(200, '/'));
  EXPECT_THROW(restore(), base::Error) << "too long";
}

}  // namespace
}  // namespace torpor::resource
