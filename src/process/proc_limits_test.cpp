#include "process/proc_limits.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

TEST(ReadLimits, ReadsAllOfAnotherProcess) {
  const TestChild child([] {
    const rlimit core{11, 22};
    const rlimit files{33, 44};
    ::setrlimit(RLIMIT_CORE, &core);
    ::setrlimit(RLIMIT_NOFILE, &files);
  });
  const auto limits = read_limits(child.pid());
  ASSERT_EQ(limits.size(), 16u);
  for (int resource = 0; resource < 16; ++resource) {
    const Limit& limit = limits[static_cast<std::size_t>(resource)];
    rlimit own{};
    ASSERT_EQ(::getrlimit(static_cast<__rlimit_resource>(resource), &own), 0);
    if (resource == RLIMIT_CORE) own = {11, 22};
    if (resource == RLIMIT_NOFILE) own = {33, 44};
    EXPECT_EQ(limit.resource, resource);
    EXPECT_EQ(limit.soft, own.rlim_cur) << resource;
    EXPECT_EQ(limit.hard, own.rlim_max) << resource;
  }
}

TEST(ReadLimits, ReadsThoseOfAProcessWithOtherIds) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can change its ids";
  const TestChild child([] {
    const rlimit files{33, 44};
    ::setrlimit(RLIMIT_NOFILE, &files);
    if (::setresuid(65534, 65533, 65532) != 0) ::_exit(1);
  });
  EXPECT_EQ(read_limits(child.pid())[RLIMIT_NOFILE].soft, 33u);
}

TEST(ReadLimits, NamesTheProcessThatIsGone) {
  const pid_t pid = ended_pid();
  expect_error(base::ErrorCode::program_gone, std::to_string(pid), [&] { read_limits(pid); });
}

}  // namespace
}  // namespace torpor::process
