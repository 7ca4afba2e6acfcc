#include "process/held_process.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <thread>

#include "process/proc_stat.h"
#include "process/proc_test_support.h"
#include "process/thread_answers.h"

namespace torpor::process {
namespace {

StoppedTree stop(pid_t pid) {
  return StoppedTree::stop({.root = pid, .reaper = 0, .not_ours = {}}, 5000);
}

TEST(HeldProcess, HasTheThreadsThatPtraceHolds) {
  const TestChild child([] {
    std::thread([] {
      for (;;) ::pause();
    }).detach();
  });
  StoppedTree tree = stop(child.pid());
  const HeldProcess held = hold(tree.processes().front(), 17);
  EXPECT_EQ(held.pid, child.pid());
  EXPECT_EQ(held.seen_pid, 17);
  EXPECT_FALSE(held.zombie || held.leader_dead);
  EXPECT_EQ(held.stop_signal, 0);
  ASSERT_EQ(held.threads.size(), 2U);
  // In the order of their numbers, which may have begun anew between the two.
  EXPECT_NE(held.threads[0]->tid() == child.pid(), held.threads[1]->tid() == child.pid());
  EXPECT_EQ(held.threads[0]->pid(), child.pid());
  EXPECT_EQ(held.threads[1]->pid(), child.pid());
  EXPECT_EQ(held.memory_pid(), child.pid());
  EXPECT_NE(held.threads[0]->registers().rip, 0U);
}

TEST(HeldProcess, OfADeadLeaderAnotherThreadIsAsked) {
  const TestChild child([](const TestChild::Ready& ready) {
    std::thread([ready] {
      while (read_stat(::getpid()).state != 'Z') ::usleep(1000);
      ready();
      for (;;) ::pause();
    }).detach();
    ::syscall(SYS_exit, 0);
  });
  StoppedTree tree = stop(child.pid());
  const HeldProcess held = hold(tree.processes().front(), child.pid());
  EXPECT_TRUE(held.leader_dead);
  ASSERT_EQ(held.threads.size(), 1U);
  EXPECT_NE(held.memory_pid(), child.pid());
  EXPECT_EQ(held.memory_pid(), held.threads[0]->tid());
}

// As where a signal has stopped the threads, and they have answered in its handler.
TEST(HeldProcess, AnswersThatAreThereAreTaken) {
  HeldProcess held;
  held.pid = ::getpid();
  expect_error(base::ErrorCode::internal, "have not told", [&] { answers_of(held); });
  held.answers.resize(2);
  held.answers[1].timer_slack = 4711;
  const auto answers = answers_of(held);
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[1].timer_slack, 4711);
}

}  // namespace
}  // namespace torpor::process
