// What the kinds of files do from inside a process, through its agent.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "base/error.h"
#include "process/injection.h"
#include "process/kcmp.h"
#include "process/proc_tree.h"
#include "process/raw_process.h"
#include "process/same_description.h"
#include "process/stopped_tree.h"
#include "resource/epoll_restore.h"
#include "resource/file_kind.h"
#include "resource/peek_undo.h"
#include "resource/pid_fd.h"
#include "resource/signal_fd.h"
#include "resource/unix_socket.h"
#include "resource/unix_socket_table.h"
#include "resource/unix_socket_test_support.h"

namespace torpor::resource {
namespace {

// A child of ours, stopped, with the agent in it.
class HeldChild {
 public:
  // `body` runs in the child and is the rest of its life: its result is the exit status. It is
  // stopped when it has called `ready`.
  template <typename Body>
  explicit HeldChild(const Body& body) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) base::throw_system("pipe2");
    const base::UniqueFd reader(ends[0]);
    base::UniqueFd writer(ends[1]);
    child_.pid = ::fork();
    if (child_.pid == 0) ::_exit(body([&] { writer.reset(); }));
    writer.reset();
    char byte = 0;
    static_cast<void>(::read(reader.get(), &byte, 1));
    tree_ = process::StoppedTree::stop({pid(), 0, {}}, 5000);
    agent_ = process::InjectedAgent::enter(*tree_->find(pid()));
    held = process::hold(*tree_->find(pid()), pid());
    held.agent = &agent_->client();
  }
  HeldChild()
      : HeldChild([](const auto& ready) {
          ready();
          for (;;) ::pause();
          return 0;
        }) {}
  HeldChild(const HeldChild&) = delete;
  HeldChild& operator=(const HeldChild&) = delete;
  ~HeldChild() = default;

  void release() {
    agent_.reset();
    tree_.reset();
  }

  // As if we had been killed: the agent is told nothing any more.
  void lose() {
    agent_->client().close();
    tree_->release();
  }

  [[nodiscard]] pid_t pid() const { return child_.pid; }
  process::AgentClient& agent() { return agent_->client(); }

  process::HeldProcess held;

 private:
  // Also when the constructor fails; after the agent has left and the child goes on.
  struct Child {
    pid_t pid = 0;
    Child() = default;
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  };

  Child child_;
  std::optional<process::StoppedTree> tree_;
  std::unique_ptr<process::InjectedAgent> agent_;
};

TEST(InsideProcess, SocketPairShowsItAsItsMaker) {
  HeldChild child;
  snapshot::Computation model;
  snapshot::SocketPair& pair = *model.add_socket_pairs();
  pair.set_id(1);
  pair.set_type(SOCK_DGRAM);
  pair.add_sides()->add_incoming()->set_data("hello");
  pair.add_sides();
  RestoreState state;
  state.model = &model;
  state.processes[child.pid()] = &child.held;
  const auto kind = make_unix_socket_kind();
  for (unsigned side = 0; side < 2; ++side) {
    snapshot::OpenFile& file = *model.add_open_files();
    file.set_id(side + 1);
    file.mutable_socket()->set_pair(1);
    file.mutable_socket()->set_side(side);
    state.open_files[file.id()] = kind->restore(file, state);
  }
  kind->finish_restore(model.open_files(0), state, child.held, 0);
  for (const auto& [id, socket] : state.open_files) {
    ucred maker{};
    socklen_t length = sizeof(maker);
    ASSERT_EQ(::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &maker, &length), 0);
    EXPECT_EQ(maker.pid, child.pid());
  }
  char data[6] = "";
  EXPECT_EQ(::recv(state.open_files[1].get(), data, 5, MSG_DONTWAIT), 5);
  EXPECT_STREQ(data, "hello");
}

TEST(InsideProcess, PidFdIsOpenedByTheProcess) {
  HeldChild child;
  RestoreState state;
  state.processes[child.pid()] = &child.held;
  snapshot::OpenFile file;
  file.mutable_pid()->set_pid(::getpid());
  const base::UniqueFd fd = make_pid_fd_kind()->restore(file, state);
  EXPECT_EQ(process::read_fdinfo(::getpid(), fd.get()).pidfd->pid, ::getpid());
}

TEST(InsideProcess, DeadPidFdIsOfAChildOfTheProcess) {
  HeldChild child;
  const auto lowest_free = [&child] {
    const auto fd = child.agent().call(SYS_dup, {1}, "dup");
    child.agent().call(SYS_close, {fd}, "close");
    return fd;
  };
  const auto before = lowest_free();
  const base::UniqueFd fd = make_dead_pid_fd(child.agent());
  EXPECT_EQ(process::read_fdinfo(::getpid(), fd.get()).pidfd->pid, -1);
  EXPECT_EQ(lowest_free(), before) << "a descriptor is left";
  EXPECT_TRUE(process::children_of(child.pid()).empty()) << "a child is left";
}

// The socket is in a network namespace that is not ours: only the process itself can look there.
TEST(InsideProcess, PeerIsFoundInAnotherNetworkNamespace) {
  if (process::take_descriptor(::getpid(), 1) < 0) GTEST_SKIP() << "needs pidfd_getfd(2)";
  int numbers[2] = {-1, -1};
  int passed[2];
  ASSERT_EQ(::pipe2(passed, O_CLOEXEC), 0);
  const base::UniqueFd reader(passed[0]);
  const base::UniqueFd writer(passed[1]);
  HeldChild child([&](const auto& ready) {
    if (::unshare(CLONE_NEWNET) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) {
      static_cast<void>(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, numbers));
    }
    static_cast<void>(::write(writer.get(), numbers, sizeof(numbers)));
    ready();
    for (;;) ::pause();
    return 0;
  });
  ASSERT_EQ(::read(reader.get(), numbers, sizeof(numbers)), 8);
  if (numbers[0] < 0) GTEST_SKIP() << "no network namespace for us";

  FileView view;
  view.pid = child.pid();
  view.fd = numbers[0];
  ASSERT_EQ(::stat(view.link().c_str(), &view.status), 0);
  CaptureState dry;
  const UnixSocket* from_outside = find_unix_socket(view, dry);
  ASSERT_NE(from_outside, nullptr);
  EXPECT_FALSE(from_outside->peer_known);

  view.agent = &child.agent();
  CaptureState stopped;
  stopped.processes[child.pid()] = &child.held;
  const UnixSocket* socket = find_unix_socket(view, stopped);
  ASSERT_NE(socket, nullptr);
  EXPECT_TRUE(socket->peer_known);
  FileView other = view;
  other.fd = numbers[1];
  ASSERT_EQ(::stat(other.link().c_str(), &other.status), 0);
  EXPECT_EQ(socket->peer, other.status.st_ino);
}

// ---- signalfds in epoll sets

constexpr int kReported = 7;
constexpr int kNotReported = 8;
constexpr int kBusyNumber = 500;
constexpr int kFreeNumber = 501;

// The set is filled while the child waits for it; then it must be woken by a signal of its own.
void expect_woken(int number, bool in_place) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  base::UniqueFd signals = make_signal_fd(std::uint64_t{1} << (SIGUSR1 - 1));
  base::UniqueFd set(::epoll_create1(EPOLL_CLOEXEC));
  HeldChild child([&](const auto& ready) {
    ::dup2(1, kBusyNumber);
    ready();
    epoll_event event{};
    int count = 0;
    do {
      count = ::epoll_wait(set.get(), &event, 1, 3000);
    } while (count < 0 && errno == EINTR);  // a stop does that too: signal(7)
    const bool reported = count == 1 && event.data.u64 == 99;
    return reported ? kReported : kNotReported;
  });

  snapshot::Computation model;
  snapshot::OpenFile& signal_file = *model.add_open_files();
  signal_file.set_id(1);
  signal_file.mutable_signal()->set_mask(1);
  snapshot::OpenFile& file = *model.add_open_files();
  file.set_id(2);
  snapshot::EpollItem& item = *file.mutable_epoll()->add_items();
  item.set_fd(number);
  item.set_events(EPOLLIN);
  item.set_data(99);
  item.set_open_file(1);
  snapshot::Process& process = *model.add_processes();
  process.set_pid(child.pid());
  if (in_place) {
    snapshot::Descriptor& descriptor = *process.add_descriptors();
    descriptor.set_number(number);
    descriptor.set_open_file(1);
  }
  RestoreState state;
  state.model = &model;
  const int set_number = set.get();
  state.open_files[1] = std::move(signals);
  state.open_files[2] = std::move(set);
  fill_epoll_set(file, state, child.held, set_number);
  const auto items = process::read_fdinfo(::getpid(), set_number).epoll;
  ASSERT_EQ(items.size(), 1U);
  EXPECT_EQ(items[0].tfd, number);

  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  child.release();
  if (process::is_kcmp_allowed()) {
    EXPECT_EQ(process::compare_files(child.pid(), kBusyNumber, child.pid(), 1), 0);
  }
  ::kill(child.pid(), SIGUSR1);
  siginfo_t end{};
  ::waitid(P_PID, static_cast<id_t>(child.pid()), &end, WEXITED | WNOWAIT);
  EXPECT_EQ(end.si_status, kReported);
}

TEST(InsideProcess, SignalFdWakesTheOneThatAddedIt) {
  const int lowest = ::dup(1);
  ::close(lowest);
  expect_woken(lowest, true);  // where make_signal_fd() puts it
}
TEST(InsideProcess, SignalFdIsAddedUnderAFreeNumber) { expect_woken(kFreeNumber, false); }
TEST(InsideProcess, SignalFdIsAddedUnderATakenNumber) { expect_woken(kBusyNumber, false); }

// The agent's own descriptors are a copy: what was in the way is seen there.
TEST(InsideProcess, WhatWasInTheWayComesBack) {
  HeldChild child([](const auto& ready) {
    ::dup3(1, kBusyNumber, O_CLOEXEC);
    ready();
    for (;;) ::pause();
    return 0;
  });
  snapshot::Computation model;
  snapshot::OpenFile& signal_file = *model.add_open_files();
  signal_file.set_id(1);
  signal_file.mutable_signal()->set_mask(1);
  snapshot::OpenFile& file = *model.add_open_files();
  file.set_id(2);
  file.mutable_epoll()->add_items()->set_fd(kBusyNumber);
  file.mutable_epoll()->mutable_items(0)->set_open_file(1);
  RestoreState state;
  state.model = &model;
  state.open_files[1] = make_signal_fd(1);
  state.open_files[2].reset(::epoll_create1(EPOLL_CLOEXEC));
  const int set = child.agent().give_fd_anywhere(state.open_files[2].get());
  const auto next = [&child] {
    const auto fd = child.agent().call(SYS_dup, {1}, "dup");
    child.agent().call(SYS_close, {fd}, "close");
    return fd;
  };
  const auto lowest_free = next();
  fill_epoll_set(file, state, child.held, set);
  EXPECT_EQ(next(), lowest_free) << "a descriptor is left";
  EXPECT_EQ(child.agent().call(SYS_fcntl, {kBusyNumber, F_GETFD}, "look"), FD_CLOEXEC);
  const base::UniqueFd back = child.agent().take_fd(kBusyNumber);
  EXPECT_TRUE(process::is_same_description(back.get(), 1));
}

// ---- if we are killed

int peek_position(int socket) {
  int value = 0;
  socklen_t length = sizeof(value);
  ::getsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &value, &length);
  return value;
}

void set_peek_position(int socket, int value) {
  ::setsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &value, sizeof(value));
}

TEST(InsideProcess, LookIntoAQueueIsUndoneWhenWeAreLost) {
  const SocketPair pair(SOCK_DGRAM);
  HeldChild child;
  auto undo = std::make_unique<PeekUndo>(&child.agent(), pair.one.get());
  set_peek_position(pair.one.get(), 3);
  child.lose();
  for (int i = 0; i < 500 && peek_position(pair.one.get()) != -1; ++i) ::usleep(10'000);
  EXPECT_EQ(peek_position(pair.one.get()), -1);
}

TEST(InsideProcess, NothingIsUndoneAfterTheLook) {
  const SocketPair pair(SOCK_DGRAM);
  HeldChild child;
  { const PeekUndo undo(&child.agent(), pair.one.get()); }
  set_peek_position(pair.one.get(), 3);
  child.lose();
  ::usleep(200'000);
  EXPECT_EQ(peek_position(pair.one.get()), 3);
}

}  // namespace
}  // namespace torpor::resource
