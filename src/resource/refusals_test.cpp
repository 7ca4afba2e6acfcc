#include "resource/refusals.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "process/kcmp.h"
#include "process/proc_tree.h"
#include "resource/held_child.h"
#include "resource/seccomp.h"

namespace torpor::resource {
namespace {

using process::TestDirectory;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> reasons(const std::vector<Obstacle>& obstacles, bool fatal = true) {
  std::vector<std::string> all;
  for (const Obstacle& found : obstacles) {
    if (found.fatal == fatal) all.push_back(found.what + ": " + found.reason);
  }
  return all;
}

// A grandchild of the test must not outlive its parent, not even if that is killed right now.
[[noreturn]] void stay_with(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (::getppid() == parent) ::usleep(100000);
  ::_exit(0);
}

std::vector<std::string> looked_at(pid_t pid, bool fatal = true) {
  std::vector<Obstacle> obstacles;
  check_process(pid, ::getpid(), obstacles);
  for (const Obstacle& found : obstacles) EXPECT_EQ(found.pid, pid);
  return reasons(obstacles, fatal);
}

TEST(Refusals, OrdinaryProcessHasNone) {
  const TestChild child([] {});
  EXPECT_THAT(looked_at(child.pid()), IsEmpty());
  EXPECT_THAT(looked_at(child.pid(), false), IsEmpty());
}

TEST(Refusals, ProcessThatHasEndedIsPassedOver) {
  EXPECT_THAT(looked_at(process::ended_pid()), IsEmpty());
  const TestChild zombie([](const TestChild::Ready&) { ::_exit(0); });
  process::wait_for_end(zombie.pid());
  EXPECT_THAT(looked_at(zombie.pid()), IsEmpty());
}

TEST(Refusals, StrictSeccomp) {
  const TestChild child([](const TestChild::Ready& ready) {
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) ::_exit(97);  // it has a filter
    ready();
    for (char byte = 0;;) (void)!::read(-1, &byte, 1);
  });
  if (own_filters() != 0) GTEST_SKIP() << "we have a filter ourselves";
  EXPECT_THAT(looked_at(child.pid()), testing::Contains(HasSubstr("strict mode")));
}

TEST(Refusals, Tracer) {
  const TestChild tracer([](const TestChild::Ready& ready) {
    const pid_t self = ::getpid();
    const pid_t traced = ::fork();
    if (traced == 0) stay_with(self);
    if (::ptrace(PTRACE_SEIZE, traced, nullptr, nullptr) != 0) ::_exit(1);
    ready();
    for (;;) ::pause();
  });
  const std::vector<pid_t> traced = process::children_of(tracer.pid());
  ASSERT_EQ(traced.size(), 1U);
  EXPECT_THAT(looked_at(traced[0]),
              ElementsAre(HasSubstr(fmt::format("traced by process {}", tracer.pid()))));
}

TEST(Refusals, DeletedWorkingDirectory) {
  const TestDirectory directory;
  const std::string gone = directory / "gone";
  const TestChild child([&] {
    if (::mkdir(gone.c_str(), 0700) != 0 || ::chdir(gone.c_str()) != 0) ::_exit(1);
    if (::rmdir(gone.c_str()) != 0) ::_exit(2);
  });
  EXPECT_THAT(looked_at(child.pid()), ElementsAre("working directory " + gone +
                                                  " (deleted): the directory has been "
                                                  "deleted"));
}

TEST(Refusals, Namespaces) {
  const TestChild child([] {
    const int flags = CLONE_NEWUTS | CLONE_NEWNET | (::geteuid() == 0 ? 0 : CLONE_NEWUSER);
    if (::unshare(flags) != 0) ::prctl(PR_SET_NAME, "refused");
  });
  const process::Status status = process::read_status(child.pid());
  if (status.name == "refused") GTEST_SKIP() << "no namespaces here";
  const auto found = looked_at(child.pid());
  EXPECT_THAT(found, testing::Contains(HasSubstr("in a network namespace of its own")));
  EXPECT_THAT(found, testing::Contains(HasSubstr("in a host name namespace of its own")));
  // Against its own surroundings there is nothing to say.
  std::vector<Obstacle> obstacles;
  check_process(child.pid(), child.pid(), obstacles);
  EXPECT_THAT(reasons(obstacles), IsEmpty());
}

TEST(Refusals, NamespacesOfChildren) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const TestChild child([] {
    if (::unshare(CLONE_NEWTIME) != 0) ::_exit(1);
  });
  EXPECT_THAT(looked_at(child.pid()),
              ElementsAre(HasSubstr("its children will be in another time namespace")));
}

template <typename Action>
void expect_thread_refused(const Action& action, const char* reason) {
  const TestChild child([&](const TestChild::Ready& ready) {
    std::thread([&] {
      if (!action()) ::_exit(1);
      ready();
      for (;;) ::pause();
    }).join();
  });
  EXPECT_THAT(looked_at(child.pid()), testing::Contains(HasSubstr(reason)));
}

TEST(Refusals, ThreadsOnTheirOwn) {
  if (!process::is_kcmp_allowed()) GTEST_SKIP() << "needs kcmp(2)";
  expect_thread_refused([] { return ::unshare(CLONE_FILES) == 0; }, "descriptors of its own");
  expect_thread_refused([] { return ::unshare(CLONE_FS) == 0; }, "working directory of its own");
  if (::geteuid() != 0) GTEST_SKIP() << "the rest needs root";
  expect_thread_refused([] { return ::unshare(CLONE_NEWUTS) == 0; },
                        "host name namespace of its own");
}

TEST(Refusals, ThreadsThatComeAndGoAreNone) {
  const TestChild child([](const TestChild::Ready& ready) {
    ready();
    for (;;) std::thread([] {}).join();
  });
  for (int i = 0; i < 200; ++i) EXPECT_THAT(looked_at(child.pid()), IsEmpty());
}

TEST(Refusals, TimerOnTheCpuTimeOfOneThread) {
  const TestChild child([](const TestChild::Ready& ready) {
    std::thread([&] {
      timer_t id = nullptr;
      ::timer_create(CLOCK_THREAD_CPUTIME_ID, nullptr, &id);
      ready();
      for (;;) ::pause();
    }).join();
  });
  EXPECT_THAT(looked_at(child.pid()), ElementsAre(HasSubstr("CPU time of one thread")));
}

TEST(Refusals, WhatIsLostIsSaid) {
  const TestChild child([] {
    if (::prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0) != 0) {
      ::prctl(PR_SET_NAME, "refused");
    }
  });
  if (process::read_status(child.pid()).name == "refused") GTEST_SKIP() << "not on this processor";
  EXPECT_THAT(looked_at(child.pid()), IsEmpty());
  EXPECT_THAT(looked_at(child.pid(), false),
              ElementsAre("Speculation_Store_Bypass: 'thread mitigated' is not kept by a restart"));
}

// ---------------------------------------------------------------------------- sharing

std::vector<std::string> shared_among(std::vector<pid_t> pids) {
  std::vector<Obstacle> obstacles;
  check_sharing(pids, obstacles);
  return reasons(obstacles);
}

// A child made with these flags of clone(2), beside its parent.
std::vector<std::string> shared_with_clone(unsigned long flags) {
  static std::atomic<pid_t>* made;
  made = static_cast<std::atomic<pid_t>*>(
      ::mmap(nullptr, sizeof(*made), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const TestChild parent([&] {
    static char stack[65536];
    static pid_t self;
    self = ::getpid();
    *made = ::clone([](void* self) -> int { stay_with(*static_cast<pid_t*>(self)); },
                    stack + sizeof(stack), static_cast<int>(flags | SIGCHLD), &self);
  });
  const auto found = shared_among({parent.pid(), *made});
  ::munmap(made, sizeof(*made));
  return found;
}

TEST(Sharing, OrdinaryProcessesShareNothing) {
  std::vector<std::unique_ptr<TestChild>> children;
  std::vector<pid_t> pids;
  for (int i = 0; i < 10; ++i) {
    children.push_back(std::make_unique<TestChild>([] {}));
    pids.push_back(children.back()->pid());
  }
  EXPECT_THAT(shared_among(pids), IsEmpty());
  pids.push_back(process::ended_pid());
  EXPECT_THAT(shared_among(pids), IsEmpty());
}

TEST(Sharing, EachKindIsNamed) {
  if (!process::is_kcmp_allowed()) GTEST_SKIP() << "needs kcmp(2)";
  EXPECT_THAT(shared_with_clone(CLONE_VM), ElementsAre(HasSubstr("shares its memory")));
  EXPECT_THAT(shared_with_clone(CLONE_FILES), ElementsAre(HasSubstr("shares its descriptors")));
  EXPECT_THAT(shared_with_clone(CLONE_FS), ElementsAre(HasSubstr("shares its working directory")));
  EXPECT_THAT(shared_with_clone(CLONE_VM | CLONE_SIGHAND),
              ElementsAre(HasSubstr("shares its memory"), HasSubstr("shares its signal actions")));
  EXPECT_THAT(shared_with_clone(0), IsEmpty());
}

TEST(Sharing, AmongMany) {
  if (!process::is_kcmp_allowed()) GTEST_SKIP() << "needs kcmp(2)";
  std::vector<std::unique_ptr<TestChild>> children;
  std::vector<pid_t> pids;
  for (int i = 0; i < 30; ++i) {
    children.push_back(std::make_unique<TestChild>([] {
      const pid_t self = ::getpid();
      if (::syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0) == 0) stay_with(self);
    }));
    pids.push_back(children.back()->pid());
  }
  std::vector<pid_t> all = pids;
  for (const pid_t pid : pids) all.push_back(process::children_of(pid).at(0));
  EXPECT_EQ(shared_among(all).size(), 30U);
  EXPECT_THAT(shared_among(pids), IsEmpty());
}

TEST(Sharing, WithAParentOutside) {
  if (!process::is_kcmp_allowed()) GTEST_SKIP() << "needs kcmp(2)";
  const TestChild parent([] {
    const pid_t self = ::getpid();
    if (::syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0) == 0) stay_with(self);
  });
  EXPECT_THAT(shared_among(process::children_of(parent.pid())),
              ElementsAre(HasSubstr(fmt::format("with process {}", parent.pid()))));
}

TEST(Sharing, ShortVforkIsWaitedOut) {
  const TestChild child([](const TestChild::Ready& ready) {
    ready();
    for (;;) {
      const pid_t pid = ::vfork();
      if (pid == 0) {
        const timespec nap{0, 30000000};
        ::nanosleep(&nap, nullptr);
        ::_exit(0);
      }
      ::waitpid(pid, nullptr, 0);
    }
  });
  for (int i = 0; i < 10; ++i) {
    std::vector<pid_t> pids = process::descendants_of(child.pid());
    pids.push_back(child.pid());
    EXPECT_THAT(shared_among(pids), IsEmpty());
  }
}

}  // namespace
}  // namespace torpor::resource
