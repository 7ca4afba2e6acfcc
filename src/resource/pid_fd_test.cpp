#include "resource/pid_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <future>
#include <thread>

extern "C" {  // glibc 2.36 does not say so itself
#include <sys/pidfd.h>
}

#include "base/error.h"
#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

// A child that waits, or ends at once and stays a zombie.
class Child {
 public:
  explicit Child(bool lives) : pid_(::fork()) {
    if (pid_ == 0) {
      if (!lives) ::_exit(3);
      for (;;) ::pause();
    }
    siginfo_t info{};
    if (!lives) ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { reap(); }

  void reap() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

FileView view_of(int fd) {
  FileView view;
  view.pid = ::getpid();
  view.fd = fd;
  view.info = process::read_fdinfo(view.pid, fd);
  return view;
}

// A stopped computation of one process.
struct Computation {
  explicit Computation(pid_t pid, pid_t seen_pid) {
    held.pid = pid;
    held.seen_pid = seen_pid;
    state.processes[pid] = &held;
    state.model = &model;
    model.add_processes()->set_pid(seen_pid);
  }
  process::HeldProcess held;
  CaptureState state;
  snapshot::Computation model;
};

TEST(PidFd, LivingProcessAndZombieComeBack) {
  for (const bool lives : {true, false}) {
    const Child child(lives);
    const base::UniqueFd original(::pidfd_open(child.pid(), 0));
    Computation computation(child.pid(), child.pid());
    const auto kind = make_pid_fd_kind();
    const FileView view = view_of(original.get());
    ASSERT_TRUE(kind->matches(view, computation.state));
    EXPECT_FALSE(kind->check(view, computation.state));
    snapshot::OpenFile file;
    kind->capture(view, computation.state, file);
    ASSERT_TRUE(kind->made(file));

    RestoreState restore;
    restore.model = &computation.model;
    EXPECT_FALSE(kind->check_restore(file, restore));
    const base::UniqueFd copy = kind->restore(file, restore);
    EXPECT_EQ(view_of(copy.get()).info.pidfd->pid, child.pid());
    EXPECT_NE(::fcntl(copy.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
}

TEST(PidFd, RecordHoldsTheNumberThatTheProgramSees) {
  const Child child(true);
  const base::UniqueFd original(::pidfd_open(child.pid(), 0));
  Computation computation(child.pid(), 7);
  snapshot::OpenFile file;
  make_pid_fd_kind()->capture(view_of(original.get()), computation.state, file);
  EXPECT_EQ(file.pid().pid(), 7);
}

TEST(PidFd, ReapedProcessStaysReaped) {
  Child child(true);
  const base::UniqueFd original(::pidfd_open(child.pid(), 0));
  child.reap();
  Computation computation(::getpid(), ::getpid());
  const auto kind = make_pid_fd_kind();
  EXPECT_FALSE(kind->check(view_of(original.get()), computation.state));
  snapshot::OpenFile file;
  kind->capture(view_of(original.get()), computation.state, file);

  RestoreState restore;
  restore.model = &computation.model;
  EXPECT_FALSE(kind->check_restore(file, restore));
  const base::UniqueFd copy = kind->restore(file, restore);
  EXPECT_EQ(view_of(copy.get()).info.pidfd->pid, -1);
  pollfd poll{copy.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&poll, 1, 0), 1);
  EXPECT_EQ(::pidfd_send_signal(copy.get(), 0, nullptr, 0), -1);
  EXPECT_EQ(errno, ESRCH);
  EXPECT_EQ(::waitpid(-1, nullptr, __WALL | WNOHANG), -1) << "a child of ours is left";
}

TEST(PidFd, ProcessOutsideIsRefused) {
  const Child child(true);
  const base::UniqueFd fd(::pidfd_open(child.pid(), 0));
  const auto kind = make_pid_fd_kind();
  const Computation stopped(::getppid(), 1);
  const auto refusal = kind->check(view_of(fd.get()), stopped.state);
  ASSERT_TRUE(refusal);
  EXPECT_NE(refusal->reason.find(std::to_string(child.pid())), std::string::npos);

  CaptureState dry;
  const auto seen_running = kind->check(view_of(fd.get()), dry);
  ASSERT_TRUE(seen_running);
  EXPECT_FALSE(seen_running->certain);
}

// It may hold no descriptor, but its parent does.
TEST(PidFd, ChildIsKnownInTheDryPass) {
  for (const bool lives : {true, false}) {
    const Child child(lives);
    const base::UniqueFd fd(::pidfd_open(child.pid(), 0));
    CaptureState dry;
    dry.holders.push_back({.pid = ::getpid(), .fd = fd.get()});
    EXPECT_FALSE(make_pid_fd_kind()->check(view_of(fd.get()), dry));
  }
}

// PIDFD_THREAD, Linux 6.9.
TEST(PidFd, ThreadFlagIsKeptForTheMainThread) {
  const base::UniqueFd fd(::pidfd_open(::getpid(), O_EXCL));
  if (!fd) GTEST_SKIP() << "this kernel has no pidfds of threads";
  Computation computation(::getpid(), ::getpid());
  const FileView view = view_of(fd.get());
  snapshot::OpenFile file;
  file.set_flags(view.info.flags);
  make_pid_fd_kind()->capture(view, computation.state, file);
  RestoreState restore;
  const base::UniqueFd copy = make_pid_fd_kind()->restore(file, restore);
  EXPECT_EQ(view_of(copy.get()).info.flags, view.info.flags);
  EXPECT_NE(view.info.flags & O_EXCL, 0U);
}

TEST(PidFd, OtherThreadsAreRefused) {
  std::promise<pid_t> tid;
  std::promise<void> done;
  std::thread thread([&] {
    tid.set_value(::gettid());
    done.get_future().wait();
  });
  const base::UniqueFd fd(::pidfd_open(tid.get_future().get(), O_EXCL));
  if (fd) {
    const auto kind = make_pid_fd_kind();
    const Computation stopped(::getpid(), ::getpid());
    CaptureState dry;
    dry.holders.push_back({.pid = ::getpid(), .fd = fd.get()});
    for (const CaptureState* state : {&stopped.state, static_cast<const CaptureState*>(&dry)}) {
      const auto refusal = kind->check(view_of(fd.get()), *state);
      EXPECT_TRUE(refusal && refusal->reason.find("thread") != std::string::npos);
    }
  }
  done.set_value();
  thread.join();
}

TEST(PidFd, ProcessThatIsNotInTheImageIsRefused) {
  snapshot::Computation model;
  model.add_processes()->set_pid(5);
  RestoreState state;
  state.model = &model;
  snapshot::OpenFile file;
  file.mutable_pid()->set_pid(6);
  EXPECT_TRUE(make_pid_fd_kind()->check_restore(file, state));
}

}  // namespace
}  // namespace torpor::resource
