#include "supervisor/job_control.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "process/proc_stat.h"
#include "supervisor/pty.h"

namespace torpor::supervisor {
namespace {

using std::string_view;

class SuspendKeyTest : public ::testing::Test {
 protected:
  void change_modes(auto change) {
    termios modes = *terminal_modes(pty_.slave.get());
    change(modes);
    ASSERT_EQ(::tcsetattr(pty_.slave.get(), TCSANOW, &modes), 0);
  }
  std::size_t find(string_view typed) { return key_.find(pty_.master.get(), typed); }

  Pty pty_ = open_pty();
  SuspendKey key_;
};

TEST_F(SuspendKeyTest, IsFoundWhereItEnds) {
  EXPECT_EQ(find("abc"), string_view::npos);
  EXPECT_EQ(find("\x1a"), 1U);
  EXPECT_EQ(find("ab\x1a"
                 "cd\x1a"),
            3U);
}

TEST_F(SuspendKeyTest, IsTheOneThatTheTerminalHas) {
  change_modes([](termios& modes) { modes.c_cc[VSUSP] = 'z'; });
  EXPECT_EQ(find("\x1a"), string_view::npos);
  EXPECT_EQ(find("az"), 2U);
}

TEST_F(SuspendKeyTest, CanBeSwitchedOff) {
  change_modes([](termios& modes) { modes.c_cc[VSUSP] = _POSIX_VDISABLE; });
  EXPECT_EQ(find(string_view("\0\x1a", 2)), string_view::npos);
}

TEST_F(SuspendKeyTest, IsAnOrdinaryByteWithoutSignals) {
  change_modes([](termios& modes) { modes.c_lflag &= ~static_cast<tcflag_t>(ISIG); });
  EXPECT_EQ(find("\x1a"), string_view::npos);
}

TEST_F(SuspendKeyTest, CanBeQuoted) {
  EXPECT_EQ(find("\x16\x1a"), string_view::npos);
  EXPECT_EQ(find("\x16"), string_view::npos);  // the quote ends one piece,
  EXPECT_EQ(find("\x1a"), string_view::npos);  // the key begins the next
  EXPECT_EQ(find("\x1a"), 1U);
  EXPECT_EQ(find("\x16\x16\x1a"), 3U);  // a quoted quote
}

// A child that waits for signals; ends with the test.
class Child {
 public:
  explicit Child(void (*setup)()) : pid_(::fork()) {
    if (pid_ != 0) return;
    ::setsid();
    setup();
    while (true) ::pause();
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  void wait_for_session() const {
    while (::getsid(pid_) != pid_ || process::read_stat(pid_).state != 'S') ::usleep(1000);
  }

 private:
  pid_t pid_;
};

TEST(StopOrphanedGroup, StopsWhatHasTheDefaultAction) {
  const Child child([] { ::signal(SIGTSTP, SIG_DFL); });
  child.wait_for_session();
  EXPECT_TRUE(stop_orphaned_group(child.pid(), child.pid()));
  int status = 0;
  ASSERT_EQ(::waitpid(child.pid(), &status, WUNTRACED), child.pid());
  EXPECT_TRUE(WIFSTOPPED(status));
}

TEST(StopOrphanedGroup, LeavesWhatIgnoresOrCatchesTheSignal) {
  const Child ignoring([] { ::signal(SIGTSTP, SIG_IGN); });
  const Child catching([] { ::signal(SIGTSTP, [](int) {}); });
  for (const Child* child : {&ignoring, &catching}) {
    child->wait_for_session();
    EXPECT_FALSE(stop_orphaned_group(child->pid(), child->pid()));
    EXPECT_EQ(::waitpid(child->pid(), nullptr, WUNTRACED | WNOHANG), 0);
  }
}

TEST(StopOrphanedGroup, LeavesAWatchedGroupToTheKernel) {
  // The grandchild has a group of its own, in the session of its parent.
  const Child shell([] {
    if (::fork() == 0) {
      ::setpgid(0, 0);
      while (true) ::pause();
    }
  });
  shell.wait_for_session();
  pid_t grandchild = 0;
  while (grandchild == 0) {
    for (pid_t pid = shell.pid() + 1; pid < shell.pid() + 50; ++pid) {
      if (::getpgid(pid) == pid && ::getsid(pid) == shell.pid()) grandchild = pid;
    }
    ::usleep(1000);
  }
  EXPECT_FALSE(stop_orphaned_group(grandchild, grandchild));
  EXPECT_NE(process::read_stat(grandchild).state, 'T');
  ::kill(grandchild, SIGKILL);
}

}  // namespace
}  // namespace torpor::supervisor
