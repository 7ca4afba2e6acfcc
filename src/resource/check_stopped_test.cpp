#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/landlock.h>
#include <sys/prctl.h>

#include <thread>

#include "process/landlock.h"
#include "resource/held_child.h"
#include "resource/process_state.h"
#include "resource/refusals.h"

namespace torpor::resource {
namespace {

using process::expect_error;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> found_in(pid_t pid, bool fatal = true) {
  HeldChild held(pid);
  std::vector<Obstacle> obstacles;
  check_stopped(held.held(), obstacles);
  std::vector<std::string> all;
  for (const Obstacle& found : obstacles) {
    if (found.fatal == fatal) all.push_back(found.what + ": " + found.reason);
  }
  return all;
}

bool landlock_here() {
  return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

void enter_landlock(int layers) {
  const landlock_ruleset_attr attributes{.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_FIFO};
  const auto ruleset =
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) ::_exit(1);
  for (int i = 0; i < layers; ++i) {
    if (::syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) ::_exit(2);
  }
  ::close(ruleset);
}

TEST(Stopped, OrdinaryProcessHasNothing) {
  const TestChild child([] {});
  EXPECT_THAT(found_in(child.pid()), IsEmpty());
  EXPECT_THAT(found_in(child.pid(), false), IsEmpty());
}

TEST(Stopped, LandlockDomainsAreCounted) {
  if (!landlock_here()) GTEST_SKIP() << "no Landlock";
  EXPECT_EQ(process::own_landlock_layers(), 0U);
  const TestChild child([] { enter_landlock(3); });
  EXPECT_THAT(found_in(child.pid()), ElementsAre(HasSubstr("in 3 Landlock domains")));
  const TestChild full([] { enter_landlock(16); });
  EXPECT_THAT(found_in(full.pid()), ElementsAre(HasSubstr("in 16 Landlock domains")));
}

TEST(Stopped, LookingForDomainsLeavesNoneBehind) {
  const TestChild child([] {});
  for (int i = 0; i < 2; ++i) EXPECT_THAT(found_in(child.pid()), IsEmpty());
  EXPECT_FALSE(process::read_status(child.pid()).no_new_privs);
  EXPECT_EQ(process::own_landlock_layers(), 0U);
  EXPECT_FALSE(process::read_status(::getpid()).no_new_privs);
}

// Where torpor runs in the same sandbox, a restart will be in it too.
TEST(Stopped, OurOwnDomainsAreNotTheProgramsOwn) {
  if (!landlock_here()) GTEST_SKIP() << "no Landlock";
  const pid_t pid = ::fork();
  if (pid == 0) {
    enter_landlock(2);
    const TestChild same([] {});
    const TestChild more([] { enter_landlock(1); });
    const bool right = process::own_landlock_layers() == 2 && found_in(same.pid()).empty() &&
                       found_in(more.pid()).size() == 1;
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Stopped, DispatchOfSystemCalls) {
  static char selector = 0;  // SYSCALL_DISPATCH_FILTER_ALLOW
  const TestChild child([](const TestChild::Ready& ready) {
    std::thread([&] {
      constexpr int kOn = 1;
      if (::prctl(PR_SET_SYSCALL_USER_DISPATCH, kOn, 0, 0, &selector) != 0) ::_exit(1);
      ready();
      for (;;) ::pause();
    }).join();
  });
  EXPECT_THAT(found_in(child.pid()), ElementsAre(HasSubstr("dispatched to user space")));
}

TEST(Stopped, ForbiddenTimeStampCounter) {
  const TestChild child([] { ::prctl(PR_SET_TSC, PR_TSC_SIGSEGV); });
  EXPECT_THAT(found_in(child.pid()), ElementsAre(HasSubstr("PR_SET_TSC")));
}

TEST(Stopped, MemoryPolicy) {
  const TestChild child([] {
    unsigned long nodes = 1;
    if (::syscall(SYS_set_mempolicy, 3 /* MPOL_INTERLEAVE */, &nodes, 2) != 0) ::_exit(1);
  });
  EXPECT_THAT(found_in(child.pid(), false), ElementsAre(HasSubstr("NUMA memory policy")));
}

TEST(Stopped, CaptureRefuses) {
  if (!landlock_here()) GTEST_SKIP() << "no Landlock";
  const TestChild child([] { enter_landlock(1); });
  HeldChild held(child.pid());
  snapshot::Process process = held.model();
  expect_error(base::ErrorCode::refused, "Landlock",
               [&] { capture_process_state(held.held(), process); });
}

}  // namespace
}  // namespace torpor::resource
