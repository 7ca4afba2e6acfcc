#include "process/proc_stat.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <ctime>
#include <thread>

#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::ErrorCode;

constexpr std::string_view stat_6_18 =
    "4920 (a) (\nb\\c d) S 4917 4916 2487 34816 4915 4194560 3571 6872 2 0 7 8 9 10 30 -10 3 0 "
    "127467 "
    "3133440 384 18446744073709551615 94192559284224 94192559304105 140726019715152 11 12 13 14 15 "
    "16 "
    "0 0 0 17 1 5 2 21 22 23 94192559320112 94192559321728 94193191112704 140726019721672 "
    "140726019721692 140726019721693 140726019723243 256\n";

TEST(ParseStat, ReadsEveryField) {
  const Stat stat = parse_stat(stat_6_18);
  EXPECT_EQ(stat.pid, 4920);
  EXPECT_EQ(stat.comm, "a) (\nb\\c d");
  EXPECT_EQ(stat.state, 'S');
  EXPECT_EQ(stat.ppid, 4917);
  EXPECT_EQ(stat.pgrp, 4916);
  EXPECT_EQ(stat.session, 2487);
  EXPECT_EQ(stat.tty_nr, 34816);
  EXPECT_EQ(stat.tpgid, 4915);
  EXPECT_EQ(stat.flags, 4194560u);
  EXPECT_EQ(stat.priority, 30);
  EXPECT_EQ(stat.nice, -10);
  EXPECT_EQ(stat.num_threads, 3);
  EXPECT_EQ(stat.starttime, 127467u);
  EXPECT_EQ(stat.start_code, 94192559284224u);
  EXPECT_EQ(stat.end_code, 94192559304105u);
  EXPECT_EQ(stat.start_stack, 140726019715152u);
  EXPECT_EQ(stat.exit_signal, 17);
  EXPECT_EQ(stat.processor, 1);
  EXPECT_EQ(stat.rt_priority, 5u);
  EXPECT_EQ(stat.policy, 2u);
  EXPECT_EQ(stat.start_data, 94192559320112u);
  EXPECT_EQ(stat.end_data, 94192559321728u);
  EXPECT_EQ(stat.start_brk, 94193191112704u);
  EXPECT_EQ(stat.arg_start, 140726019721672u);
  EXPECT_EQ(stat.arg_end, 140726019721692u);
  EXPECT_EQ(stat.env_start, 140726019721693u);
  EXPECT_EQ(stat.env_end, 140726019723243u);
  EXPECT_EQ(stat.exit_code, 256);
}

TEST(ParseStat, PassesOverFieldsOfNewerKernels) {
  std::string text(stat_6_18);
  text.insert(text.size() - 1, " 77 0x12 new");
  EXPECT_EQ(parse_stat(text).exit_code, 256);
}

TEST(ParseStat, RefusesOtherText) {
  for (const std::string_view text :
       {"", "12", "12 (comm", "x (comm) S 1", "12 (comm) S 1 2 3\n"}) {
    expect_error(ErrorCode::internal, "cannot parse /proc/12/stat",
                 [&] { parse_stat(text, "/proc/12/stat"); });
  }
  expect_error(ErrorCode::internal, "",
               [] { parse_stat(stat_6_18.substr(0, stat_6_18.size() - 4)); });
}

TEST(ReadStat, AgreesWithWhatTheProcessKnows) {
  const Stat stat = read_stat(::getpid());
  EXPECT_EQ(stat.pid, ::getpid());
  EXPECT_EQ(stat.state, 'R');
  EXPECT_EQ(stat.ppid, ::getppid());
  EXPECT_EQ(stat.pgrp, ::getpgrp());
  EXPECT_EQ(stat.session, ::getsid(0));
  EXPECT_EQ(stat.nice, ::getpriority(PRIO_PROCESS, 0));
  EXPECT_EQ(stat.policy, static_cast<uint32_t>(::sched_getscheduler(0)));
  EXPECT_EQ(stat.exit_signal, SIGCHLD);
  EXPECT_LE(stat.start_brk, reinterpret_cast<uintptr_t>(::sbrk(0)));
  EXPECT_LT(stat.arg_start, stat.arg_end);
  EXPECT_LE(stat.arg_end, stat.env_start);
}

TEST(ReadStat, ReadsNamesThatLookLikeFields) {
  for (const char* name : {"a) (b", ") R 1 (", "two\nlines", "a\\b", " "}) {
    const TestChild child([&] { ::prctl(PR_SET_NAME, name); });
    const Stat stat = read_stat(child.pid());
    EXPECT_EQ(stat.comm, name);
    EXPECT_EQ(stat.pid, child.pid());
    EXPECT_EQ(stat.ppid, ::getpid());
  }
}

TEST(ReadStat, ReadsAThread) {
  std::thread([] {
    ::prctl(PR_SET_NAME, "worker");
    const Stat stat = read_stat(::getpid(), ::gettid());
    EXPECT_EQ(stat.pid, ::gettid());
    EXPECT_EQ(stat.comm, "worker");
    EXPECT_EQ(stat.num_threads, 2);
    EXPECT_EQ(stat.exit_signal, -1);
  }).join();
}

TEST(ReadStat, ReadsHowAZombieEnded) {
  const TestChild exited([] { ::_exit(3); });
  wait_for_end(exited.pid());
  EXPECT_EQ(read_stat(exited.pid()).state, 'Z');
  EXPECT_EQ(WEXITSTATUS(read_stat(exited.pid()).exit_code), 3);
  EXPECT_EQ(read_stat(exited.pid()).start_stack, 0u);
  const TestChild killed([] { ::kill(::getpid(), SIGKILL); });
  wait_for_end(killed.pid());
  EXPECT_EQ(WTERMSIG(read_stat(killed.pid()).exit_code), SIGKILL);
}

TEST(ReadStat, ReadsStartTimeInTicksSinceBoot) {
  const TestChild child([] {});
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  const auto ticks = static_cast<uint64_t>(now.tv_sec * ::sysconf(_SC_CLK_TCK));
  EXPECT_LE(read_stat(child.pid()).starttime, ticks + 100);
  EXPECT_GE(read_stat(child.pid()).starttime + 6000, ticks);  // a minute
}

TEST(ReadStat, SeesStoppedProcesses) {
  const TestChild child([] {});
  ::kill(child.pid(), SIGSTOP);
  ::waitpid(child.pid(), nullptr, WUNTRACED);
  EXPECT_EQ(read_stat(child.pid()).state, 'T');
}

}  // namespace
}  // namespace torpor::process
