#include "image/file_io.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::ErrorCode;
using testing::TempDirectory;

TEST(FileIo, FullDeviceIsAnErrorWithTheRemedy) {
  const base::UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full);
  try {
    write_all(full.get(), 0, testing::bytes_of(std::string(10, 'x')));
    FAIL() << "was written";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::io);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("/dev/full"));
    EXPECT_THAT(error.remedy(), ::testing::HasSubstr("free space"));
  }
}

// Not `conflict` or `permission`: for whoever stores an image, all that is an I/O problem.
TEST(FileIo, WhateverAWriteFailsWithIsIo) {
  for (const int error : {EPERM, EACCES, ENOENT, EEXIST, ENOSPC, EBUSY}) {
    EXPECT_EQ(testing::error_of([&] { throw_write_error(error, "writing"); }), ErrorCode::io);
  }
}

TEST(FileIo, ShortFileIsABadImage) {
  const TempDirectory directory;
  const base::UniqueFd fd = create_file(directory.fd(), "f");
  write_all(fd.get(), 0, testing::bytes_of("12345"));
  std::array<std::byte, 4> bytes{};
  EXPECT_NO_THROW(read_exactly(fd.get(), 1, bytes, "f"));
  EXPECT_EQ(bytes[3], std::byte{'5'});
  EXPECT_EQ(testing::error_of([&] { read_exactly(fd.get(), 2, bytes, "f"); }),
            ErrorCode::bad_image);
  EXPECT_EQ(read_whole(fd.get(), "f").size(), 5U);
}

TEST(FileIo, MakeDirectoriesTwiceAndThroughAFile) {
  const TempDirectory directory;
  make_directories(directory.path() / "a/b/c");
  make_directories(directory.path() / "a/b/c");
  EXPECT_TRUE(std::filesystem::is_directory(directory.path() / "a/b/c"));
  testing::put(directory.path() / "file", "");
  EXPECT_EQ(testing::error_of([&] { make_directories(directory.path() / "file/x"); }),
            ErrorCode::io);
}

// In a child, where the limit is in force and the signal has its deadly default.
TEST(FileSizeSignalGuard, TakesTheSignalAwayAndNothingElse) {
  const TempDirectory directory;
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{10, 10};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const base::UniqueFd fd = create_file(directory.fd(), "f");
    ssize_t written = 0;
    {
      const FileSizeSignalGuard guard;
      written = ::pwrite(fd.get(), "x", 1, 100);
    }
    ::_exit(written == -1 && errno == EFBIG ? 0 : 1);  // and alive, the signal no longer blocked
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(FileSizeSignalGuard, RestoresTheMask) {
  sigset_t before;
  sigset_t after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  { const FileSizeSignalGuard guard; }
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int signal = 1; signal < NSIG; ++signal) {
    EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal));
  }
}

}  // namespace
}  // namespace torpor::image
