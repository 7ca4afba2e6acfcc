// What happens when the disk, or what the user may use of it, is full; for real.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::page_size;
using testing::FakePages;
using testing::TempDirectory;

constexpr int passed = 0;
constexpr int failed = 1;
constexpr int skipped = 77;

// Runs `check` in a child, which may change its limits and namespaces. SIGXFSZ has its default
// there: it would end the child.
template <typename Check>
int in_child(Check check) {
  const pid_t child = ::fork();
  if (child == 0) {
    int result = failed;
    try {
      result = check();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
    }
    ::_exit(result);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Checks that writing a process of 4 MiB fails with `io` and the remedy.
int expect_failure(int directory_fd, bool direct, const std::string& remedy) {
  FakePages pages;
  snapshot::Process process = testing::example_process();
  testing::add_area(process, testing::heap, testing::heap + 1024 * page_size);
  pages.put_patterns(testing::heap, 1024);
  base::Progress progress;
  try {
    write_core(process, pages, directory_fd, progress,
               {.workers = 4, .direct = direct, .fault = {}});
  } catch (const base::Error& error) {
    const bool right = error.code() == base::ErrorCode::io &&
                       error.remedy().find(remedy) != std::string::npos &&
                       std::string(error.what()).find("/100.core") != std::string::npos;
    if (!right) std::fprintf(stderr, "%s (%s)\n", error.what(), error.remedy().c_str());
    return right ? passed : failed;
  }
  std::fprintf(stderr, "nothing was reported\n");
  return failed;
}

TEST(DiskFull, LimitOfFileSizeIsAnErrorAndNoDeath) {
  for (const bool direct : {false, true}) {
    const TempDirectory directory;
    const int result = in_child([&] {
      const rlimit limit{1U << 20U, 1U << 20U};
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return failed;
      const int outcome = expect_failure(directory.fd(), direct, "ulimit -f");
      sigset_t pending;
      sigpending(&pending);
      return sigismember(&pending, SIGXFSZ) != 0 ? failed : outcome;
    });
    EXPECT_EQ(result, passed) << "direct: " << direct;
  }
}

// In namespaces of its own, where everybody may mount.
int with_tiny_disk(const TempDirectory& directory, bool direct) {
  const gid_t gid = ::getegid();
  const std::string map = fmt::format("0 {} 1", ::geteuid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return skipped;
  testing::put("/proc/self/uid_map", map);  // without, nobody owns the new files: EOVERFLOW
  testing::put("/proc/self/setgroups", "deny");
  testing::put("/proc/self/gid_map", fmt::format("0 {} 1", gid));
  if (::mount("tiny", directory.path().c_str(), "tmpfs", 0, "size=1m") != 0) return skipped;
  const base::UniqueFd fd = open_directory(directory.path());
  return expect_failure(fd.get(), direct, "free space");
}

TEST(DiskFull, FullFileSystemIsAnError) {
  for (const bool direct : {false, true}) {
    const TempDirectory directory;
    const int result = in_child([&] { return with_tiny_disk(directory, direct); });
    if (result == skipped) GTEST_SKIP() << "no user namespaces here";
    EXPECT_EQ(result, passed) << "direct: " << direct;
  }
}

TEST(DiskFull, FailedImageLeavesNothing) {
  const TempDirectory directory;
  const Store store(directory.path(), "job");
  const int result = in_child([&] {
    const rlimit limit{6000, 6000};  // enough for the smaller files
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return failed;
    const auto code = testing::error_of([&] { testing::write_example_image(store); });
    return code == base::ErrorCode::io ? passed : failed;
  });
  EXPECT_EQ(result, passed);
  EXPECT_TRUE(store.generations().empty());
  EXPECT_TRUE(std::filesystem::is_empty(store.path()));
}

}  // namespace
}  // namespace torpor::image
