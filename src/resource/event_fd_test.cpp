#include "resource/event_fd.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <limits>

#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

process::EventfdInfo info_of(const base::UniqueFd& fd) {
  return process::read_fdinfo(::getpid(), fd.get()).eventfd.value();
}

base::UniqueFd copy_of(const base::UniqueFd& original) {
  return make_event_fd(read_event_fd(info_of(original)));
}

TEST(EventFd, CounterComesBackWhole) {
  const base::UniqueFd original(::eventfd(0, EFD_CLOEXEC));
  constexpr std::uint64_t kCount = std::numeric_limits<std::uint64_t>::max() - 1;
  ASSERT_EQ(::eventfd_write(original.get(), kCount), 0);
  const base::UniqueFd copy = copy_of(original);
  eventfd_t count = 0;
  ASSERT_EQ(::eventfd_read(copy.get(), &count), 0);
  EXPECT_EQ(count, kCount);
}

TEST(EventFd, LookingDoesNotConsume) {
  const base::UniqueFd original(::eventfd(7, EFD_CLOEXEC));
  copy_of(original);
  eventfd_t count = 0;
  ASSERT_EQ(::eventfd_read(original.get(), &count), 0);
  EXPECT_EQ(count, 7U);
}

TEST(EventFd, EmptyCounterStaysUnreadable) {
  const base::UniqueFd copy = copy_of(base::UniqueFd(::eventfd(0, EFD_CLOEXEC)));
  pollfd poll{copy.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&poll, 1, 0), 0);
}

TEST(EventFd, SemaphoreGivesOneAtATime) {
  const base::UniqueFd original(::eventfd(3, EFD_CLOEXEC | EFD_SEMAPHORE));
  if (!info_of(original).semaphore) GTEST_SKIP() << "this kernel does not print it";
  const base::UniqueFd copy = copy_of(original);
  eventfd_t count = 0;
  ASSERT_EQ(::eventfd_read(copy.get(), &count), 0);
  EXPECT_EQ(count, 1U);
  EXPECT_EQ(info_of(copy).count, 2U);
}

FileView view_of(const process::EventfdInfo& info) {
  FileView view;
  view.pid = 4711;
  view.fd = 5;
  view.info.eventfd = info;
  return view;
}

TEST(EventFd, UnknownSemaphoreIsSaid) {
  CaptureState state;
  snapshot::OpenFile file;
  make_event_fd_kind()->capture(view_of({.count = 1, .id = 0, .semaphore = {}}), state, file);
  ASSERT_EQ(state.warnings.size(), 1U);
  EXPECT_NE(state.warnings[0].find("process 4711, descriptor 5"), std::string::npos);
  EXPECT_TRUE(make_event_fd_kind()->made(file));

  make_event_fd_kind()->capture(view_of({.count = 1, .id = 0, .semaphore = true}), state, file);
  EXPECT_EQ(state.warnings.size(), 1U);
  EXPECT_TRUE(file.event().semaphore());
}

TEST(EventFd, OverflowIsRefused) {
  const auto kind = make_event_fd_kind();
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  EXPECT_TRUE(kind->check(view_of({.count = kMax, .id = 0, .semaphore = false}), {}));
  EXPECT_FALSE(kind->check(view_of({.count = kMax - 1, .id = 0, .semaphore = false}), {}));
}

}  // namespace
}  // namespace torpor::resource
