#include "resource/scheduling.h"

#include <gtest/gtest.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <thread>

#include "process/thread_facts.h"
#include "resource/held_child.h"

namespace torpor::resource {
namespace {

snapshot::Process captured(HeldChild& child) {
  snapshot::Process process = child.model();
  capture_scheduling(child.held(), process);
  return process;
}

snapshot::Process captured(pid_t pid) {
  HeldChild held(pid);
  return captured(held);
}

void expect_round_trip(snapshot::Process saved, pid_t bare) {
  HeldChild held(bare);
  LeaderCalls calls(held);
  restore_scheduling(calls, saved.threads(0));
  saved.set_pid(bare);
  saved.mutable_threads(0)->set_tid(bare);
  EXPECT_EQ(difference(saved, captured(held)), "");
}

void bind_to(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  if (::sched_setaffinity(0, sizeof(set), &set) != 0) ::_exit(1);
}

void make_unusual() {
  constexpr int kSlack = 123456;
  bind_to(0);
  ::prctl(PR_SET_TIMERSLACK, kSlack);
  ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
  const sched_param none{};
  if (::sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none) != 0) ::_exit(2);
  if (::setpriority(PRIO_PROCESS, 0, 7) != 0) ::_exit(3);
}

TEST(Scheduling, RoundTrip) {
  const TestChild child([] { make_unusual(); });
  const TestChild bare([] {});
  const snapshot::Process saved = captured(child.pid());
  const snapshot::Thread& thread = saved.threads(0);
  EXPECT_EQ(thread.scheduling().policy(), static_cast<unsigned>(SCHED_BATCH));
  EXPECT_EQ(thread.scheduling().nice(), 7);
  EXPECT_EQ(thread.scheduling().flags(), 1U);
  EXPECT_EQ(thread.timer_slack_ns(), 123456);
  EXPECT_EQ(thread.io_priority(), IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
  if (::sysconf(_SC_NPROCESSORS_ONLN) > 1) {
    EXPECT_EQ(thread.affinity()[0], 1);
  }
  expect_round_trip(saved, bare.pid());
}

TEST(Scheduling, RoundTripOfTheUsual) {
  const TestChild child([] {});
  const TestChild bare([] {
    bind_to(0);
    ::prctl(PR_SET_TIMERSLACK, 77);
    ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6));
  });
  const snapshot::Process saved = captured(child.pid());
  EXPECT_TRUE(saved.threads(0).affinity().empty());
  EXPECT_EQ(saved.threads(0).scheduling().runtime(), 0U);
  expect_round_trip(saved, bare.pid());
}

TEST(Scheduling, RealTime) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const TestChild child([] {
    ::setpriority(PRIO_PROCESS, 0, -5);
    const sched_param parameters{.sched_priority = 3};
    if (::sched_setscheduler(0, SCHED_RR, &parameters) != 0) ::_exit(1);
  });
  const TestChild bare([] {});
  const snapshot::Process saved = captured(child.pid());
  EXPECT_EQ(saved.threads(0).scheduling().priority(), 3U);
  EXPECT_EQ(saved.threads(0).scheduling().nice(), -5);
  expect_round_trip(saved, bare.pid());
}

TEST(Scheduling, Deadline) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  constexpr std::uint64_t kMillisecond = 1000000;
  const auto set = [] {
    process::SchedulingFacts facts;
    facts.policy = 6;  // SCHED_DEADLINE
    facts.runtime = kMillisecond;
    facts.deadline = 50 * kMillisecond;
    facts.period = 100 * kMillisecond;
    return ::syscall(SYS_sched_setattr, 0, &facts, 0) == 0;
  };
  // Of another thread: the agent cannot be born from one with this policy. The kernel may refuse
  // it, for want of bandwidth.
  const TestChild child([&](const TestChild::Ready& ready) {
    std::thread([&] {
      set();
      ready();
      for (;;) ::pause();
    }).join();
  });
  const snapshot::Process saved = captured(child.pid());
  const snapshot::Scheduling& scheduling = saved.threads(1).scheduling();
  if (scheduling.policy() != 6) GTEST_SKIP() << "no SCHED_DEADLINE here";
  EXPECT_EQ(scheduling.runtime(), kMillisecond);
  const TestChild bare([] {});
  HeldChild held(bare.pid());
  LeaderCalls calls(held);
  restore_scheduling(calls, saved.threads(1));
  const snapshot::Scheduling again = captured(held).threads(0).scheduling();
  EXPECT_EQ(scheduling.DebugString(), again.DebugString());
}

TEST(Scheduling, SliceOfItsOwn) {
  constexpr std::uint64_t kSlice = 700000;
  const TestChild child([] {
    process::SchedulingFacts facts;
    facts.runtime = kSlice;
    if (::syscall(SYS_sched_setattr, 0, &facts, 0) != 0) ::_exit(1);
  });
  const snapshot::Process saved = captured(child.pid());
  if (saved.threads(0).scheduling().runtime() != kSlice) GTEST_SKIP() << "before Linux 6.12";
  const TestChild bare([] {});
  expect_round_trip(saved, bare.pid());
}

TEST(Scheduling, EachThreadItsOwn) {
  const TestChild child([](const TestChild::Ready& ready) {
    std::thread([&] {
      make_unusual();
      ready();
      for (;;) ::pause();
    }).join();
  });
  const snapshot::Process saved = captured(child.pid());
  ASSERT_EQ(saved.threads_size(), 2);
  EXPECT_EQ(saved.threads(0).scheduling().nice(), 0);
  EXPECT_NE(saved.threads(0).timer_slack_ns(), 123456);
  EXPECT_EQ(saved.threads(1).scheduling().nice(), 7);
  EXPECT_EQ(saved.threads(1).timer_slack_ns(), 123456);
}

TEST(Scheduling, WhatMayNotBeSetIsNamed) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may";
  const TestChild bare([] {});
  HeldChild held(bare.pid());
  snapshot::Thread thread = captured(held).threads(0);
  thread.mutable_scheduling()->set_nice(-3);
  LeaderCalls calls(held);
  process::expect_error(base::ErrorCode::permission, "set SCHED_OTHER with nice value -3",
                        [&] { restore_scheduling(calls, thread); });
}

}  // namespace
}  // namespace torpor::resource
