#include "process/proc_timens.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <ctime>

#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::ErrorCode;

TEST(ParseTimeOffsets, ReadsPositiveAndNegativeOnes) {
  const TimeOffsets offsets =
      parse_time_offsets("monotonic     2592000         7\nboottime           -1 500000000\n");
  EXPECT_EQ(offsets.mono_sec, 2592000);
  EXPECT_EQ(offsets.mono_nsec, 7);
  EXPECT_EQ(offsets.boot_sec, -1);
  EXPECT_EQ(offsets.boot_nsec, 500000000);
}

TEST(ParseTimeOffsets, RefusesOtherText) {
  for (const std::string_view text : {"", "monotonic 1\n", "monotonic 1 2\n", "boottime 1 2\n"}) {
    expect_error(ErrorCode::internal, "cannot parse /proc/7/timens_offsets",
                 [&] { parse_time_offsets(text, "/proc/7/timens_offsets"); });
  }
}

bool write_offsets(std::string_view text) {
  const base::UniqueFd fd(::open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

TEST(ReadTimeOffsets, ReadsThoseOfAnotherNamespace) {
  constexpr int clone_newtime = 0x80;
  const TestChild child([](const TestChild::Ready& ready) {
    if (::unshare(CLONE_NEWUSER | clone_newtime) != 0) ::_exit(1);
    if (!write_offsets("monotonic 1000 5\nboottime 2000 0\n")) ::_exit(1);
    ready();
    for (;;) ::pause();
  });
  TimeOffsets offsets;
  try {
    offsets = read_time_offsets(child.pid());
  } catch (const base::Error&) {
    GTEST_SKIP() << "no time namespaces here";
  }
  if (::waitpid(child.pid(), nullptr, WNOHANG) != 0) GTEST_SKIP() << "no time namespaces here";
  const TimeOffsets own = read_time_offsets(::getpid());
  EXPECT_EQ(offsets.mono_sec - own.mono_sec, 1000);
  EXPECT_EQ(offsets.mono_nsec, 5);
  EXPECT_EQ(offsets.boot_sec - own.boot_sec, 2000);
}

TEST(ReadTimeOffsets, NamesTheProcessThatIsGoneOrHasEnded) {
  const pid_t pid = ended_pid();
  expect_error(ErrorCode::program_gone, std::to_string(pid), [&] { read_time_offsets(pid); });
  const TestChild zombie([] { ::_exit(0); });
  wait_for_end(zombie.pid());
  expect_error(ErrorCode::program_gone, std::to_string(zombie.pid()),
               [&] { read_time_offsets(zombie.pid()); });
}

}  // namespace
}  // namespace torpor::process
