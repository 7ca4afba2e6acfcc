#include "resource/attributes.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/membarrier.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <thread>

#include "resource/held_child.h"

namespace torpor::resource {
namespace {

using process::TestDirectory;

snapshot::Process captured(HeldChild& child) {
  snapshot::Process process = child.model();
  capture_attributes(child.held(), process);
  return process;
}

snapshot::Process captured(pid_t pid) {
  HeldChild held(pid);
  return captured(held);
}

// Makes all the calls of a restart in the leader, in its order.
void restore(HeldChild& child, const snapshot::Process& saved) {
  LeaderCalls calls(child);
  restore_attributes_early(calls, saved);
  restore_thread_attributes(calls, saved.threads(0), saved);
  restore_attributes_late(calls, saved);
  restore_after_credentials(calls, saved.threads(0), saved);
}

void expect_round_trip(snapshot::Process saved, pid_t bare) {
  HeldChild held(bare);
  saved.set_pid(bare);
  saved.mutable_threads(0)->set_tid(bare);
  restore(held, saved);
  EXPECT_EQ(difference(saved, captured(held)), "");
}

void make_unusual(const TestDirectory& directory) {
  ::prctl(PR_SET_NAME, "a) \n\xff(b");
  ::prctl(PR_SET_DUMPABLE, 1);
  ::personality(ADDR_NO_RANDOMIZE | UNAME26);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_PDEATHSIG, SIGUSR2);
  ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  ::umask(027);
  if (::chdir((directory / ".").c_str()) != 0) ::_exit(1);
  const base::UniqueFd oom(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  if (::write(oom.get(), "700", 3) != 3) ::_exit(2);
  const base::UniqueFd filter(::open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC));
  if (::write(filter.get(), "0x7f", 4) != 4) ::_exit(3);
}

TEST(Attributes, AreCaptured) {
  const TestDirectory directory;
  const TestChild child([&] { make_unusual(directory); });
  const snapshot::Process process = captured(child.pid());
  const snapshot::ProcessAttributes& attributes = process.attributes();
  EXPECT_EQ(attributes.command_name(), "a) \n\xff(b");
  EXPECT_EQ(attributes.dumpable(), 1);
  EXPECT_EQ(attributes.personality(), ADDR_NO_RANDOMIZE | UNAME26);
  EXPECT_TRUE(attributes.child_subreaper());
  EXPECT_EQ(attributes.parent_death_signal(), SIGUSR2);
  EXPECT_TRUE(attributes.thp_disabled());
  EXPECT_EQ(attributes.oom_score_adj(), 700);
  EXPECT_EQ(attributes.coredump_filter(), 0x7fU);
  EXPECT_EQ(process.context().umask(), 027U);
  EXPECT_EQ(process.context().root_directory(), "/");
  EXPECT_EQ(process.context().working_directory() + "/.", directory / ".");
}

TEST(Attributes, RoundTrip) {
  const TestDirectory directory;
  const TestChild child([&] { make_unusual(directory); });
  const TestChild bare([] {});
  expect_round_trip(captured(child.pid()), bare.pid());
}

// Everything back to what is usual, in a process where nothing is: what a husk was born with must
// not stay.
TEST(Attributes, RoundTripOfTheUsual) {
  const TestDirectory directory;
  const TestChild child([] {});
  const TestChild bare([&] { make_unusual(directory); });
  snapshot::Process saved = captured(child.pid());
  saved.mutable_attributes()->set_oom_score_adj(700);  // a husk has the restarter's already
  expect_round_trip(saved, bare.pid());
}

TEST(Attributes, UndumpableProcess) {
  if (::geteuid() != 0) GTEST_SKIP() << "nobody else may look at such a process";
  const TestChild child([] { ::prctl(PR_SET_DUMPABLE, 0); });
  const TestChild bare([] {});
  const snapshot::Process saved = captured(child.pid());
  EXPECT_EQ(saved.attributes().dumpable(), 0);
  expect_round_trip(saved, bare.pid());
}

TEST(Attributes, RootDirectory) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const TestDirectory directory;
  const std::string jail = directory / "jail";
  ASSERT_EQ(::mkdir(jail.c_str(), 0755), 0);
  ASSERT_EQ(::mkdir((jail + "/inside").c_str(), 0755), 0);
  const TestChild child([&] {
    if (::chroot(jail.c_str()) != 0 || ::chdir("/inside") != 0) ::_exit(1);
  });
  const TestChild bare([] {});
  const snapshot::Process saved = captured(child.pid());
  EXPECT_EQ(saved.context().root_directory(), jail);
  EXPECT_EQ(saved.context().working_directory(), jail + "/inside");
  expect_round_trip(saved, bare.pid());
}

TEST(Attributes, ThreadsHaveNamesAndParentDeathSignalsOfTheirOwn) {
  const TestChild child([](const TestChild::Ready& ready) {
    std::thread([&] {
      ::prctl(PR_SET_NAME, "worker");
      ::prctl(PR_SET_PDEATHSIG, SIGHUP);
      ready();
      for (;;) ::pause();
    }).join();
  });
  const snapshot::Process process = captured(child.pid());
  ASSERT_EQ(process.threads_size(), 2);
  EXPECT_NE(process.threads(0).name(), "worker");
  EXPECT_EQ(process.threads(0).parent_death_signal(), SIGKILL);  // TestChild's
  EXPECT_EQ(process.threads(1).name(), "worker");
  EXPECT_EQ(process.threads(1).parent_death_signal(), SIGHUP);
}

TEST(Attributes, MissingDirectoryIsNamed) {
  snapshot::Process saved;
  {
    const TestDirectory directory;
    const TestChild child([&] { make_unusual(directory); });
    saved = captured(child.pid());
  }
  const TestChild bare([] {});
  HeldChild held(bare.pid());
  LeaderCalls calls(held);
  process::expect_error(base::ErrorCode::not_found,
                        "enter its working directory " + saved.context().working_directory(),
                        [&] { restore_attributes_late(calls, saved); });
}

TEST(Attributes, EveryProcessIsRegisteredForMembarriers) {
  const TestChild bare([] {});
  HeldChild held(bare.pid());
  const process::BorrowedCalls ask(held.held());
  const auto expedited = [&] {
    return ask.call(held.leader(), SYS_membarrier, {MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0});
  };
  EXPECT_EQ(expedited(), -EPERM);
  LeaderCalls calls(held);
  restore_attributes_early(calls, captured(held));
  EXPECT_EQ(expedited(), 0);
}

}  // namespace
}  // namespace torpor::resource
