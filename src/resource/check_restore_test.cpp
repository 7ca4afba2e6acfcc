#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <sys/resource.h>

#include "process/proc_status.h"
#include "process/proc_test_support.h"
#include "resource/refusals.h"

namespace torpor::resource {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A process that has what we have.
snapshot::Process like_us() {
  snapshot::Process process;
  process.set_pid(1);
  *process.mutable_credentials() = present_credentials(::getpid()).credentials;
  process.mutable_context()->set_working_directory("/");
  process.mutable_context()->set_root_directory("/");
  process.add_threads()->set_tid(1);
  process.mutable_threads(0)->mutable_scheduling()->set_nice(::getpriority(PRIO_PROCESS, 0));
  return process;
}

std::vector<std::string> obstacles_of(const snapshot::Process& process, bool fatal = true) {
  std::vector<Obstacle> obstacles;
  check_restore(process, present_credentials(::getpid()), obstacles);
  std::vector<std::string> all;
  for (const Obstacle& found : obstacles) {
    if (found.fatal == fatal) all.push_back(found.what + ": " + found.reason);
  }
  return all;
}

bool is_root() { return ::geteuid() == 0; }

bool may_exceed_limits() {
  constexpr int kSysResource = 24;
  return (process::read_status(::getpid()).cap_eff >> kSysResource & 1) != 0;
}

TEST(CheckRestore, WhatWeHaveCanBeGiven) { EXPECT_THAT(obstacles_of(like_us()), IsEmpty()); }

TEST(CheckRestore, MissingDirectory) {
  snapshot::Process process = like_us();
  process.mutable_context()->set_working_directory("/nowhere/at/all");
  EXPECT_THAT(obstacles_of(process),
              ElementsAre("working directory /nowhere/at/all: there is no such directory here"));
}

TEST(CheckRestore, ProcessorsThatAreNotThere) {
  snapshot::Process process = like_us();
  std::string mask(1024, '\0');
  mask.back() = '\x80';
  process.mutable_threads(0)->set_affinity(mask);
  EXPECT_THAT(obstacles_of(process), ElementsAre(HasSubstr("none of the processors")));
  process.mutable_threads(0)->set_affinity(std::string("\xff"));
  EXPECT_THAT(obstacles_of(process), IsEmpty());
}

TEST(CheckRestore, ZombieNeedsNothing) {
  snapshot::Process process;
  process.set_state(snapshot::Process::ZOMBIE);
  EXPECT_THAT(obstacles_of(process), IsEmpty());
}

TEST(CheckRestore, WhatOnlyRootMay) {
  snapshot::Process process = like_us();
  snapshot::Thread& thread = *process.mutable_threads(0);
  thread.mutable_scheduling()->set_nice(-20);
  thread.set_io_priority(IOPRIO_PRIO_VALUE(IOPRIO_CLASS_RT, 0));
  process.mutable_attributes()->set_oom_score_adj(-1000);
  process.add_seccomp_filters();
  snapshot::Limit& limit = *process.add_limits();
  limit.set_resource(RLIMIT_RTPRIO);
  limit.set_hard(RLIM_INFINITY);
  if (is_root() && !may_exceed_limits()) {  // as in many containers
    EXPECT_THAT(obstacles_of(process), ElementsAre(HasSubstr("RLIMIT_RTPRIO: its hard limit was"),
                                                   HasSubstr("oom_score_adj: it was -1000")));
  } else if (is_root()) {
    EXPECT_THAT(obstacles_of(process), IsEmpty());
  } else {
    EXPECT_THAT(obstacles_of(process),
                ElementsAre(HasSubstr("nice value -20"), HasSubstr("real-time I/O priority"),
                            HasSubstr("RLIMIT_RTPRIO: its hard limit was"),
                            HasSubstr("oom_score_adj: it was -1000"), HasSubstr("seccomp")));
  }
}

TEST(CheckRestore, RealTimePolicies) {
  if (is_root()) GTEST_SKIP() << "root may";
  snapshot::Process process = like_us();
  process.mutable_threads(0)->mutable_scheduling()->set_policy(SCHED_FIFO);
  process.mutable_threads(0)->mutable_scheduling()->set_priority(99);
  EXPECT_THAT(obstacles_of(process), ElementsAre(HasSubstr("policy 1 with priority 99")));
}

TEST(CheckRestore, OtherUser) {
  if (is_root()) GTEST_SKIP() << "root may";
  snapshot::Process process = like_us();
  process.mutable_credentials()->set_uid(::getuid() + 1);
  process.add_threads()->set_tid(2);
  *process.mutable_threads(1)->mutable_credentials() = process.credentials();
  EXPECT_THAT(obstacles_of(process),
              ElementsAre(HasSubstr("credentials"), HasSubstr("credentials")));
}

}  // namespace
}  // namespace torpor::resource
