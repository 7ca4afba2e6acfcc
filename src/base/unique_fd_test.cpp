#include "base/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace torpor::base {
namespace {

int opened() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, EmptyIsInvalid) {
  const UniqueFd none;
  EXPECT_FALSE(none.valid());
  EXPECT_FALSE(none);
}

TEST(UniqueFd, ClosesWhenItGoes) {
  const int fd = opened();
  ASSERT_GE(fd, 0);
  {
    const UniqueFd owner(fd);
    EXPECT_TRUE(owner);
    EXPECT_EQ(owner.get(), fd);
    EXPECT_TRUE(is_open(fd));
  }
  EXPECT_FALSE(is_open(fd));
}

TEST(UniqueFd, MoveHandsOverAndClosesTheOldOne) {
  const int first = opened();
  const int second = opened();
  UniqueFd owner(first);
  UniqueFd other(second);
  owner = std::move(other);
  EXPECT_FALSE(is_open(first));
  EXPECT_EQ(owner.get(), second);
  UniqueFd last(std::move(owner));
  EXPECT_TRUE(is_open(second));
  EXPECT_EQ(last.get(), second);
}

TEST(UniqueFd, ReleaseDoesNotClose) {
  UniqueFd owner(opened());
  const int fd = owner.release();
  EXPECT_FALSE(owner);
  EXPECT_TRUE(is_open(fd));
  ::close(fd);
}

TEST(UniqueFd, ResetToItselfKeepsItOpen) {
  UniqueFd owner(opened());
  owner.reset(owner.get());
  EXPECT_TRUE(is_open(owner.get()));
}

}  // namespace
}  // namespace torpor::base
