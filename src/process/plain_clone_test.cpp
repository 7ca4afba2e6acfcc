// agent/clone.h, in processes of the test.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "agent/clone.h"

namespace torpor::agent {
namespace {

int status_of(std::int64_t pid, int options) {
  int status = -1;
  EXPECT_EQ(::waitpid(static_cast<pid_t>(pid), &status, options), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(PlainClone, IsTriedOnlyWhereItWouldDo) {
  clone_args args{};
  EXPECT_TRUE(may_clone_plainly(-ENOSYS, args));
  EXPECT_TRUE(may_clone_plainly(-EPERM, args));
  EXPECT_FALSE(may_clone_plainly(-EAGAIN, args));
  EXPECT_FALSE(may_clone_plainly(0, args));
  EXPECT_FALSE(may_clone_plainly(4711, args));
  args.set_tid_size = 1;
  EXPECT_FALSE(may_clone_plainly(-ENOSYS, args));
}

TEST(PlainClone, Forks) {
  int untouched = 1;
  clone_args args{};
  args.exit_signal = SIGCHLD;
  const std::int64_t pid = clone_plainly(args);
  if (pid == 0) {
    untouched = 2;
    ::_exit(40 + untouched);
  }
  ASSERT_GT(pid, 0);
  EXPECT_EQ(status_of(pid, 0), 42);
  EXPECT_EQ(untouched, 1);
}

struct Told {
  int value = 0;
  std::uint64_t stack = 0;
};

void tell(void* argument) {
  auto* told = static_cast<Told*>(argument);
  told->value = 99;
  told->stack = reinterpret_cast<std::uint64_t>(&told);
  for (;;) sys::raw_syscall(__NR_exit_group, 7);
}

// As the agent's helper: shares memory, and no signal tells of its end.
TEST(PlainClone, CallsAFunctionOnAStackOfItsOwn) {
  alignas(64) std::array<std::byte, 65536> stack{};
  Told told;
  clone_args args{};
  args.flags = CLONE_VM | CLONE_VFORK | CLONE_UNTRACED;
  args.stack = reinterpret_cast<std::uint64_t>(stack.data());
  args.stack_size = stack.size();
  const std::int64_t pid = clone_plainly_to(args, tell, &told);
  ASSERT_GT(pid, 0);
  EXPECT_EQ(told.value, 99);
  EXPECT_GE(told.stack, args.stack);
  EXPECT_LT(told.stack, args.stack + args.stack_size);
  EXPECT_EQ(status_of(pid, __WALL), 7);
}

}  // namespace
}  // namespace torpor::agent
