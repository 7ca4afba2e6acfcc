#include "process/proc_sched.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::ErrorCode;

const std::string ruler = std::string(67, '-') + "\n";
const std::string head = "cat (3447, #threads: 1)\n" + ruler;

TEST(ParseExecStart, ReadsMillisecondsWithSixDecimalsAsNanoseconds) {
  EXPECT_EQ(parse_exec_start(
                head + "se.exec_start                                :        926869.860240\n"
                       "se.vruntime                                  :            66.065004\n"),
            926869860240u);
  EXPECT_EQ(parse_exec_start(head + "se.exec_start : 0.000007\n"), 7u);
}

TEST(ParseExecStart, IsNothingWhenTheKernelDoesNotPrintIt) {
  EXPECT_EQ(parse_exec_start(head + "se.vruntime : 66.065004\n"), std::nullopt);
  EXPECT_EQ(parse_exec_start(""), std::nullopt);
}

TEST(ParseExecStart, IsNotFooledByTheNameOfTheProgram) {
  EXPECT_EQ(parse_exec_start("\nse.exec_start: (3447, #threads: 1)\n" + ruler +
                             "se.exec_start : 5.000000\n"),
            5'000'000u);
}

TEST(ParseExecStart, RefusesOtherText) {
  for (const std::string value : {" 5", ": x", ": 5", ": 5.0", ": 5.0000000", ": -1.000000"}) {
    expect_error(ErrorCode::internal, "cannot parse /proc/7/sched",
                 [&] { parse_exec_start(head + "se.exec_start" + value + "\n", "/proc/7/sched"); });
  }
}

TEST(ExecStart, StandsStillWhileAThreadSleeps) {
  if (!exec_start_ns(::getpid(), ::getpid())) GTEST_SKIP() << "this kernel does not tell";
  const TestChild sleeper([] { ::prctl(PR_SET_NAME, "\nse.exec_start:"); });
  ::usleep(50'000);  // until it has come from its pipe to its sleep
  const auto first = exec_start_ns(sleeper.pid(), sleeper.pid());
  ::usleep(50'000);
  ASSERT_TRUE(first);
  EXPECT_GT(*first, 0u);
  EXPECT_EQ(exec_start_ns(sleeper.pid(), sleeper.pid()), first);
}

TEST(ExecStart, NamesTheProcessThatIsGone) {
  const pid_t pid = ended_pid();
  expect_error(ErrorCode::program_gone, std::to_string(pid), [&] { exec_start_ns(pid, pid); });
}

}  // namespace
}  // namespace torpor::process
