#include "process/detour.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <vector>

#include "process/proc_maps.h"
#include "process/proc_status.h"

namespace torpor::process {
namespace {

constexpr std::size_t kBytes = 1 << 20;

// Writes a byte every millisecond. Ends when nobody reads, or when a sleep was disturbed.
[[noreturn]] void beat(int fd) {
  for (;;) {
    const timespec nap{0, 1000000};
    if (::nanosleep(&nap, nullptr) != 0) ::_exit(2);
    if (::write(fd, "b", 1) != 1) ::_exit(3);
  }
}

bool beats(int fd) {
  for (int i = 0; i < 20; ++i) {
    pollfd wait{fd, POLLIN, 0};
    char byte = 0;
    if (::poll(&wait, 1, 10000) <= 0 || ::read(fd, &byte, 1) != 1) return false;
  }
  return true;
}

Tracee hold(pid_t pid) {
  Tracee thread = Tracee::seize(pid, pid).value();
  thread.interrupt();
  EXPECT_TRUE(thread.wait(10000));
  return thread;
}

std::int64_t map(BorrowedThread& thread) {
  const std::array<std::uint64_t, 6> arguments{
      0, kBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, ~std::uint64_t{0}, 0};
  return thread.call(SYS_mmap, arguments);
}

std::size_t areas_of_the_size(pid_t pid) {
  std::size_t count = 0;
  for (const Mapping& mapping : read_maps(pid)) count += mapping.size() == kBytes ? 1 : 0;
  return count;
}

struct Beater {
  Beater() {
    EXPECT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
    pid = ::fork();
    if (pid == 0) beat(pipe[1]);
    ::close(pipe[1]);
  }
  ~Beater() {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    ::close(pipe[0]);
  }
  Beater(const Beater&) = delete;
  Beater& operator=(const Beater&) = delete;

  int pipe[2] = {-1, -1};
  pid_t pid = -1;
};

TEST(Detour, CallsAndGivesBack) {
  const Beater program;
  {
    std::vector<Tracee> threads;
    threads.push_back(hold(program.pid));
    const Registers before = threads[0].registers();
    const std::uint64_t mask = threads[0].signal_mask();
    const Detour detour = Detour::enter(program.pid, threads);
    {
      BorrowedThread borrowed(threads[0], detour);
      EXPECT_EQ(borrowed.call(SYS_getpid, {}), program.pid);
      EXPECT_EQ(borrowed.call(SYS_close, std::array<std::uint64_t, 1>{9999}), -EBADF);
    }
    const Registers after = threads[0].registers();
    EXPECT_EQ(std::memcmp(&before, &after, sizeof(before)), 0);
    EXPECT_EQ(threads[0].signal_mask(), mask);
    detour.leave();
  }
  EXPECT_TRUE(beats(program.pipe[0]));
}

TEST(Detour, UnmapsByItself) {
  const Beater program;
  {
    std::vector<Tracee> threads;
    threads.push_back(hold(program.pid));
    const Detour detour = Detour::enter(program.pid, threads);
    BorrowedThread borrowed(threads[0], detour);
    const std::int64_t at = map(borrowed);
    ASSERT_GT(at, 0);
    EXPECT_EQ(areas_of_the_size(program.pid), 1U);
    borrowed.set_unmap({static_cast<std::uint64_t>(at), kBytes});
    EXPECT_EQ(borrowed.unmap(), 0);
    EXPECT_EQ(areas_of_the_size(program.pid), 0U);
  }
  EXPECT_TRUE(beats(program.pipe[0]));
}

// Maps memory in the program, and is killed before it gives the thread back.
[[noreturn]] void hold_and_die(pid_t program) {
  std::vector<Tracee> threads;
  threads.push_back(hold(program));
  const Detour detour = Detour::enter(program, threads);
  if (!detour.leads_back()) ::_exit(77);
  BorrowedThread borrowed(threads[0], detour, {0, kBytes});
  if (map(borrowed) <= 0) ::_exit(1);
  ::kill(::getpid(), SIGKILL);
  ::_exit(1);
}

TEST(Detour, LeadsBackWhenNobodyIsLeft) {
  int pipe[2] = {-1, -1};
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  int pids[2] = {-1, -1};
  ASSERT_EQ(::pipe2(pids, O_CLOEXEC), 0);
  const pid_t supervisor = ::fork();  // the program's parent, which may trace it
  if (supervisor == 0) {
    const pid_t program = ::fork();
    if (program == 0) beat(pipe[1]);
    (void)!::write(pids[1], &program, sizeof(program));
    hold_and_die(program);
  }
  ::close(pipe[1]);
  pid_t program = -1;
  ASSERT_EQ(::read(pids[0], &program, sizeof(program)), static_cast<ssize_t>(sizeof(program)));
  int status = 0;
  ::waitpid(supervisor, &status, 0);
  const bool no_room = WIFEXITED(status) && WEXITSTATUS(status) == 77;
  EXPECT_TRUE(no_room || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) << status;
  EXPECT_TRUE(beats(pipe[0]));
  EXPECT_EQ(areas_of_the_size(program), 0U);
  EXPECT_EQ(read_status(program).sig_blk, 0U);
  ::kill(program, SIGKILL);
  for (const int fd : {pipe[0], pids[0], pids[1]}) ::close(fd);
  if (no_room) GTEST_SKIP() << "this kernel's vdso has no room";
}

}  // namespace
}  // namespace torpor::process
