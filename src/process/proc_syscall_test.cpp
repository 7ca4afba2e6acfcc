#include "process/proc_syscall.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include "process/proc_stat.h"
#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::ErrorCode;

TEST(ParseSyscall, ReadsACall) {
  const auto call = parse_syscall(
      "7 0x3 0x7fb820c17000 0xffffffffffffffff 0x22 0x5 0x6 0x7ffe356e5588 0x7fb820d912ad\n");
  ASSERT_TRUE(call);
  EXPECT_EQ(call->nr, 7);
  const uint64_t expected[] = {3, 0x7fb820c17000, UINT64_MAX, 0x22, 5, 6};
  EXPECT_TRUE(std::equal(std::begin(expected), std::end(expected), call->args));
  EXPECT_EQ(call->sp, 0x7ffe356e5588u);
  EXPECT_EQ(call->pc, 0x7fb820d912adu);
}

TEST(ParseSyscall, ReadsThreadsThatAreInNone) {
  EXPECT_EQ(parse_syscall("running\n"), std::nullopt);
  const auto outside = parse_syscall("-1 0x7ffe356e5588 0x7fb820d912ad\n");
  ASSERT_TRUE(outside);
  EXPECT_EQ(outside->nr, -1);
  EXPECT_EQ(outside->args[0], 0u);
  EXPECT_EQ(outside->pc, 0x7fb820d912adu);
}

TEST(ParseSyscall, RefusesOtherText) {
  for (const std::string_view text : {"", "sleeping", "0 1 2", "0 0x1 0x2 0x3 0x4 0x5 0x6 0x7\n"}) {
    expect_error(ErrorCode::internal, "cannot parse /proc/7/syscall",
                 [&] { parse_syscall(text, "/proc/7/syscall"); });
  }
}

void wait_for_state(pid_t pid, char state) {
  for (int i = 0; i < 5000 && read_stat(pid).state != state; ++i) ::usleep(1000);
}

TEST(BlockedSyscall, SeesNumberAndArgumentsOfASleepingCall) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const base::UniqueFd reader(ends[0]);
  const base::UniqueFd writer(ends[1]);
  char byte = 0;
  const TestChild child([&](const TestChild::Ready& ready) {
    ready();
    ::syscall(SYS_read, reader.get(), &byte, 1, 44, 55, 66);
  });
  wait_for_state(child.pid(), 'S');
  const auto call = blocked_syscall(child.pid(), child.pid());
  ASSERT_TRUE(call);
  EXPECT_EQ(call->nr, SYS_read);
  const uint64_t expected[] = {
      static_cast<uint64_t>(reader.get()), reinterpret_cast<uintptr_t>(&byte), 1, 44, 55, 66};
  EXPECT_TRUE(std::equal(std::begin(expected), std::end(expected), call->args));
  EXPECT_NE(call->sp, 0u);
  EXPECT_NE(call->pc, 0u);
}

TEST(BlockedSyscall, SeesThatAThreadRunsOrIsStoppedOutside) {
  const TestChild child([](const TestChild::Ready& ready) {
    ready();
    for (const volatile bool spin = true; spin;) continue;
  });
  wait_for_state(child.pid(), 'R');
  ::usleep(20'000);  // it is past its write to the pipe now
  EXPECT_EQ(blocked_syscall(child.pid(), child.pid()), std::nullopt);
  ::kill(child.pid(), SIGSTOP);
  ::waitpid(child.pid(), nullptr, WUNTRACED);
  const auto stopped = blocked_syscall(child.pid(), child.pid());
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->nr, -1);
  EXPECT_NE(stopped->pc, 0u);
}

TEST(BlockedSyscall, NamesTheProcessThatIsGone) {
  const pid_t pid = ended_pid();
  expect_error(ErrorCode::program_gone, std::to_string(pid), [&] { blocked_syscall(pid, pid); });
}

}  // namespace
}  // namespace torpor::process
