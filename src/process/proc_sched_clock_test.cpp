#include "process/proc_sched_clock.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <vector>

#include "process/proc_sched.h"
#include "process/proc_stat.h"
#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using Clock = std::chrono::steady_clock;

uint64_t ns_since(Clock::time_point start) {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
}

std::vector<int> usable_cpus() {
  cpu_set_t usable;
  if (::sched_getaffinity(0, sizeof(usable), &usable) != 0) return {};
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &usable)) cpus.push_back(cpu);
  }
  return cpus;
}

void stay_on(int cpu) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(static_cast<std::size_t>(cpu), &only);
  if (::sched_setaffinity(0, sizeof(only), &only) != 0) ::_exit(1);
}

TEST(SchedClocks, TellHowLongThreadsOfAnyCpuHaveSlept) {
  if (!exec_start_ns(::getpid(), ::getpid())) GTEST_SKIP() << "this kernel does not tell";
  const std::vector<int> before = usable_cpus();
  std::deque<TestChild> sleepers;
  for (const int cpu : before) sleepers.emplace_back([cpu] { stay_on(cpu); });
  ::usleep(50'000);  // all sleep now
  const Clock::time_point start = Clock::now();
  ::usleep(250'000);
  SchedClocks clocks;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const pid_t pid = sleepers[i].pid();
    ASSERT_EQ(read_stat(pid).processor, before[i]);
    const auto slept = clocks.since_last_run_ns(pid, pid);
    ASSERT_TRUE(slept);
    EXPECT_GE(*slept + 5'000'000, ns_since(start)) << before[i];  // a busy hypervisor takes some
    EXPECT_LE(*slept, ns_since(start) + 10'000'000'000) << before[i];
  }
  EXPECT_EQ(usable_cpus(), before);
}

TEST(SchedClocks, IsExactForAThreadThatFellAsleepAtAKnownTime) {
  if (!exec_start_ns(::getpid(), ::getpid())) GTEST_SKIP() << "this kernel does not tell";
  const TestChild sleeper([] { ::signal(SIGUSR1, [](int) {}); });
  uint64_t smallest_error = UINT64_MAX;
  for (int attempt = 0; attempt < 10; ++attempt) {
    ::kill(sleeper.pid(), SIGUSR1);  // makes it run once more
    const Clock::time_point start = Clock::now();
    ::usleep(20'000);
    const auto slept = SchedClocks().since_last_run_ns(sleeper.pid(), sleeper.pid());
    ASSERT_TRUE(slept);
    const uint64_t expected = ns_since(start);
    smallest_error =
        std::min(smallest_error, std::max(*slept, expected) - std::min(*slept, expected));
  }
  EXPECT_LT(smallest_error, 1'000'000u);
}

TEST(SchedClocks, NamesTheProcessThatIsGone) {
  const pid_t pid = ended_pid();
  expect_error(base::ErrorCode::program_gone, std::to_string(pid),
               [&] { SchedClocks().since_last_run_ns(pid, pid); });
}

}  // namespace
}  // namespace torpor::process
