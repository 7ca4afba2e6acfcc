#include "process/same_description.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <functional>
#include <map>

#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::UniqueFd;

UniqueFd duplicate(const UniqueFd& fd) { return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)); }

// Two descriptions of the same kind, and as far as possible of the same file.
struct Pair {
  UniqueFd one, other;
};

Pair regular_files() {
  const TestDirectory directory;
  static_cast<void>(directory.create("file"));
  const auto open = [&] {
    return UniqueFd(::open((directory / "file").c_str(), O_RDWR | O_CLOEXEC));
  };
  return {open(), open()};
}

Pair directories() {
  const auto open = [] { return UniqueFd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)); };
  return {open(), open()};
}

Pair pipe_ends() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Pair sockets() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Pair event_fds() {
  return {UniqueFd(::eventfd(0, EFD_CLOEXEC)), UniqueFd(::eventfd(0, EFD_CLOEXEC))};
}

Pair epoll_sets() {
  return {UniqueFd(::epoll_create1(EPOLL_CLOEXEC)), UniqueFd(::epoll_create1(EPOLL_CLOEXEC))};
}

Pair null_devices() {
  const auto open = [] { return UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)); };
  return {open(), open()};
}

const std::map<std::string, Pair (*)()> kKinds{
    {"regular", regular_files}, {"directory", directories}, {"pipe", pipe_ends},
    {"socket", sockets},        {"eventfd", event_fds},     {"epoll", epoll_sets},
    {"null", null_devices}};

void expect_told_apart(const std::string& kind, SameBy way) {
  SCOPED_TRACE(kind);
  const Pair pair = kKinds.at(kind)();
  const UniqueFd copy = duplicate(pair.one);
  EXPECT_TRUE(is_same_description(pair.one.get(), copy.get(), way));
  EXPECT_TRUE(is_same_description(copy.get(), pair.one.get(), way));
  EXPECT_TRUE(is_same_description(copy.get(), copy.get(), way));
  EXPECT_FALSE(is_same_description(pair.one.get(), pair.other.get(), way));
  EXPECT_FALSE(is_same_description(pair.other.get(), copy.get(), way));
}

TEST(SameDescription, Automatic) {
  for (const auto& [kind, make] : kKinds) expect_told_apart(kind, SameBy::automatic);
}

TEST(SameDescription, ByQuery) {
  const UniqueFd set(::epoll_create1(EPOLL_CLOEXEC));
  try {
    is_same_description(set.get(), set.get(), SameBy::query);
  } catch (const base::Error&) {
    GTEST_SKIP() << "came with Linux 6.10";
  }
  for (const auto& [kind, make] : kKinds) expect_told_apart(kind, SameBy::query);
}

TEST(SameDescription, ByEpoll) {
  for (const char* kind : {"pipe", "socket", "eventfd", "epoll"}) {
    expect_told_apart(kind, SameBy::epoll);
  }
  const Pair files = regular_files();
  expect_error(base::ErrorCode::host_lacks, "kcmp",
               [&] { is_same_description(files.one.get(), files.other.get(), SameBy::epoll); });
}

TEST(SameDescription, BySignal) {
  for (const auto& [kind, make] : kKinds) expect_told_apart(kind, SameBy::signal);
}

TEST(SameDescription, TheSignalIsPutBack) {
  for (const int signal : {0, SIGIO, SIGRTMIN + 3}) {
    const Pair files = regular_files();
    ASSERT_EQ(::fcntl(files.one.get(), F_SETSIG, signal), 0);
    const UniqueFd copy = duplicate(files.one);
    EXPECT_TRUE(is_same_description(files.one.get(), copy.get(), SameBy::signal));
    EXPECT_FALSE(is_same_description(files.one.get(), files.other.get(), SameBy::signal));
    EXPECT_EQ(::fcntl(files.one.get(), F_GETSIG), signal);
    EXPECT_EQ(::fcntl(files.other.get(), F_GETSIG), 0);
  }
}

}  // namespace
}  // namespace torpor::process
