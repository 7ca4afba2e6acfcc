#include "resource/limits.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "resource/held_child.h"

namespace torpor::resource {
namespace {

snapshot::Process captured(HeldChild& child) {
  snapshot::Process process = child.model();
  capture_limits(child.held(), process);
  return process;
}

void lower(__rlimit_resource resource, rlim_t soft, rlim_t hard) {
  const rlimit limit{soft, hard};
  if (::setrlimit(resource, &limit) != 0) ::_exit(1);
}

TEST(Limits, RoundTrip) {
  const TestChild child([] {
    lower(RLIMIT_CPU, 1000, RLIM_INFINITY);
    lower(RLIMIT_CORE, 0, 0);
    lower(RLIMIT_NOFILE, 33, 44);
    lower(RLIMIT_STACK, 1 << 20, 1 << 21);
  });
  const TestChild bare([] {});
  snapshot::Process saved;
  {
    HeldChild held(child.pid());
    saved = captured(held);
  }
  ASSERT_EQ(saved.limits_size(), RLIM_NLIMITS);
  EXPECT_EQ(saved.limits(RLIMIT_NOFILE).soft(), 33U);
  EXPECT_EQ(saved.limits(RLIMIT_NOFILE).hard(), 44U);
  EXPECT_EQ(saved.limits(RLIMIT_CPU).hard(), RLIM_INFINITY);
  HeldChild held(bare.pid());
  LeaderCalls calls(held);
  restore_limits(calls, saved);
  saved.set_pid(bare.pid());
  saved.mutable_threads(0)->set_tid(bare.pid());
  EXPECT_EQ(difference(saved, captured(held)), "");
}

TEST(Limits, RaisingIsRefusedByName) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may";
  const TestChild bare([] { lower(RLIMIT_NOFILE, 30, 30); });
  HeldChild held(bare.pid());
  snapshot::Process saved;
  snapshot::Limit& limit = *saved.add_limits();
  limit.set_resource(RLIMIT_NOFILE);
  limit.set_soft(10);
  limit.set_hard(31);
  LeaderCalls calls(held);
  process::expect_error(base::ErrorCode::permission, "set RLIMIT_NOFILE to 10 of at most 31",
                        [&] { restore_limits(calls, saved); });
}

TEST(Limits, Names) {
  EXPECT_EQ(limit_name(RLIMIT_CPU), "RLIMIT_CPU");
  EXPECT_EQ(limit_name(RLIMIT_NOFILE), "RLIMIT_NOFILE");
  EXPECT_EQ(limit_name(RLIMIT_AS), "RLIMIT_AS");
  EXPECT_EQ(limit_name(RLIMIT_RTTIME), "RLIMIT_RTTIME");
  EXPECT_EQ(limit_name(99), "limit 99");
}

}  // namespace
}  // namespace torpor::resource
