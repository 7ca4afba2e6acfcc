#include "resource/private_descriptors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <string>

#include "base/error.h"
#include "base/unique_fd.h"
#include "process/proc_fdinfo.h"

namespace torpor::resource {
namespace {

std::string name_of(const testing::TestParamInfo<PrivateBy>& info) {
  switch (info.param) {
    case PrivateBy::automatic: return "Automatic";
    case PrivateBy::thread: return "Thread";
    case PrivateBy::process: return "Process";
  }
  return "";
}

class PrivateDescriptors : public testing::TestWithParam<PrivateBy> {};
INSTANTIATE_TEST_SUITE_P(Ways, PrivateDescriptors,
                         testing::Values(PrivateBy::thread, PrivateBy::process,
                                         PrivateBy::automatic),
                         name_of);

TEST_P(PrivateDescriptors, AnyNumberCanBeUsed) {
  const base::UniqueFd event(::eventfd(3, EFD_CLOEXEC));
  const std::vector<int> before = process::list_fds(::getpid());
  std::uint64_t count = 0;
  with_private_descriptors(
      [&] {
        ASSERT_EQ(::dup2(event.get(), 0), 0);  // which is in use
        ASSERT_EQ(::dup2(event.get(), 700), 700);
        ASSERT_EQ(::read(700, &count, sizeof(count)), 8);
      },
      GetParam());
  EXPECT_EQ(count, 3U);
  EXPECT_EQ(process::list_fds(::getpid()), before);
  EXPECT_NE(process::fd_target(::getpid(), 0), "anon_inode:[eventfd]");
}

// epoll_restore.cpp relies on that.
TEST_P(PrivateDescriptors, ItemsOfAnEpollSetStay) {
  const base::UniqueFd set(::epoll_create1(EPOLL_CLOEXEC));
  const base::UniqueFd event(::eventfd(1, EFD_CLOEXEC));
  with_private_descriptors(
      [&] {
        epoll_event wanted{};
        wanted.events = EPOLLIN;
        ASSERT_EQ(::dup2(event.get(), 701), 701);
        ASSERT_EQ(::epoll_ctl(set.get(), EPOLL_CTL_ADD, 701, &wanted), 0);
      },
      GetParam());
  const auto items = process::read_fdinfo(::getpid(), set.get()).epoll;
  ASSERT_EQ(items.size(), 1U);
  EXPECT_EQ(items[0].tfd, 701);
  epoll_event reported{};
  EXPECT_EQ(::epoll_wait(set.get(), &reported, 1, 0), 1);
}

TEST_P(PrivateDescriptors, ErrorsArePassedOn) {
  const auto fail = [] { throw base::Error(base::ErrorCode::conflict, std::string(100, 'x')); };
  try {
    with_private_descriptors(fail, GetParam());
    FAIL() << "no error";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::ErrorCode::conflict);
    EXPECT_EQ(error.what(), std::string(100, 'x'));
  }
}

}  // namespace
}  // namespace torpor::resource
