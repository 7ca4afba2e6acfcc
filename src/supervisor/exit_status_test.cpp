#include "supervisor/exit_status.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace torpor::supervisor {
namespace {

TEST(ExitStatus, OfRealProcessesIsAsInAShell) {
  const auto run = [](auto end) {
    const pid_t pid = ::fork();
    if (pid == 0) end();
    siginfo_t info{};
    EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(wait_status(info.si_code, info.si_status), status);
    return exit_status(status);
  };
  EXPECT_EQ(run([] { ::_exit(0); }), 0);
  EXPECT_EQ(run([] { ::_exit(255); }), 255);
  EXPECT_EQ(run([] { ::raise(SIGKILL); }), 137);
  EXPECT_EQ(run([] { ::raise(SIGTERM); }), 143);
}

TEST(WaitStatus, KnowsStopsAndContinuation) {
  EXPECT_TRUE(WIFSTOPPED(wait_status(CLD_STOPPED, SIGTSTP)));
  EXPECT_EQ(WSTOPSIG(wait_status(CLD_STOPPED, SIGTSTP)), SIGTSTP);
  EXPECT_TRUE(WIFCONTINUED(wait_status(CLD_CONTINUED, SIGCONT)));
  EXPECT_TRUE(WCOREDUMP(wait_status(CLD_DUMPED, SIGSEGV)));
}

TEST(DescribeEnd, SaysHow) {
  EXPECT_EQ(describe_end(3 << 8), "exited with status 3");
  EXPECT_EQ(describe_end(SIGKILL), "was ended by signal 9 (KILL)");
}

}  // namespace
}  // namespace torpor::supervisor
