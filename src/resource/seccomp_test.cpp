#include "resource/seccomp.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "process/seccomp_filters.h"
#include "resource/held_child.h"

namespace torpor::resource {
namespace {

using process::expect_error;

// A filter that lets everything pass but one call, which fails with `error`.
void deny(unsigned call, unsigned error, unsigned flags = 0) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{4, program};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) ::_exit(1);
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) != 0) ::_exit(2);
}

snapshot::Process captured(HeldChild& child) {
  snapshot::Process process = child.model();
  capture_seccomp(child.held(), process);
  return process;
}

snapshot::Process captured(pid_t pid) {
  HeldChild held(pid);
  return captured(held);
}

unsigned denied_by(const snapshot::SeccompFilter& filter) {
  sock_filter jump{};
  std::memcpy(&jump, filter.program().data() + sizeof(jump), sizeof(jump));
  return jump.k;
}

TEST(Seccomp, NothingOfAProcessWithout) {
  const TestChild child([] {});
  const snapshot::Process process = captured(child.pid());
  EXPECT_EQ(process.seccomp_filters_size(), 0);
  RecordedCalls calls;
  restore_seccomp(calls, process);
  EXPECT_TRUE(calls.calls.empty());
}

TEST(Seccomp, FiltersOldestFirst) {
  if (!can_read_filters()) GTEST_SKIP() << "needs root";
  const TestChild child([] {
    deny(SYS_swapoff, 11);
    deny(SYS_swapon, 12, SECCOMP_FILTER_FLAG_LOG);
    deny(SYS_acct, 13);
  });
  const snapshot::Process process = captured(child.pid());
  ASSERT_EQ(process.seccomp_filters_size(), 3);
  EXPECT_EQ(denied_by(process.seccomp_filters(0)), static_cast<unsigned>(SYS_swapoff));
  EXPECT_EQ(denied_by(process.seccomp_filters(1)), static_cast<unsigned>(SYS_swapon));
  EXPECT_EQ(denied_by(process.seccomp_filters(2)), static_cast<unsigned>(SYS_acct));
  EXPECT_EQ(process.seccomp_filters(0).flags(), 0U);
  EXPECT_EQ(process.seccomp_filters(1).flags(), SECCOMP_FILTER_FLAG_LOG);
}

TEST(Seccomp, RoundTrip) {
  if (!can_read_filters()) GTEST_SKIP() << "needs root";
  const TestChild child([] {
    deny(SYS_swapoff, 11);
    deny(SYS_swapoff, 12);
  });
  const TestChild bare([] { ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); });
  snapshot::Process saved = captured(child.pid());
  HeldChild held(bare.pid());
  LeaderCalls calls(held);
  // Not for all threads: the agent's would be among them.
  RecordedCalls recorded;
  restore_seccomp(recorded, saved);
  ASSERT_EQ(recorded.calls.size(), 2U);
  for (const RecordedCalls::Call& call : recorded.calls) {
    EXPECT_EQ(call.arguments[1], static_cast<std::uint64_t>(SECCOMP_FILTER_FLAG_TSYNC));
  }
  restore_seccomp(calls, saved);
  const process::BorrowedCalls ask(held.held());
  EXPECT_EQ(ask.call(held.leader(), SYS_swapoff, {0}), -12);  // the newest speaks last
  saved.set_pid(bare.pid());
  saved.mutable_threads(0)->set_tid(bare.pid());
  EXPECT_EQ(difference(saved, captured(held)), "");
}

TEST(Seccomp, ThreadsWithDifferentFiltersAreRefused) {
  if (!can_read_filters()) GTEST_SKIP() << "needs root";
  const TestChild child([](const TestChild::Ready& ready) {
    std::thread([&] {
      deny(SYS_swapoff, 11);
      ready();
      for (;;) ::pause();
    }).join();
  });
  expect_error(base::ErrorCode::refused, "different seccomp filters",
               [&] { captured(child.pid()); });
}

TEST(Seccomp, OrdinaryUsersCannotRead) {
  if (can_read_filters()) GTEST_SKIP() << "root can";
  const TestChild child([] { deny(SYS_swapoff, 11); });
  expect_error(base::ErrorCode::refused, "only root can read", [&] { captured(child.pid()); });
}

// Those that were there before the program belong to its surroundings.
TEST(Seccomp, OurOwnFiltersAreNotTheProgramsOwn) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    deny(SYS_swapoff, 11);
    bool right = own_filters() > 0;
    const TestChild child([] {});
    right = right && captured(child.pid()).seccomp_filters_size() == 0;
    const TestChild more([] { deny(SYS_swapoff, 11); });
    try {
      captured(more.pid());
      right = false;
    } catch (const base::Error& error) {
      right = right && error.code() == base::ErrorCode::refused;
    }
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace torpor::resource
