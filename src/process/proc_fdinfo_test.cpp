#include "process/proc_fdinfo.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <thread>

#include "process/proc_lock.h"
#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::ErrorCode;
using base::UniqueFd;

FdInfo own(const UniqueFd& fd) { return read_fdinfo(::getpid(), fd.get()); }

TEST(ReadFdinfo, ReadsPositionFlagsAndInode) {
  const TestDirectory directory;
  const UniqueFd file = directory.create("file", 100);
  ASSERT_EQ(::lseek(file.get(), 77, SEEK_SET), 77);
  ASSERT_EQ(::fcntl(file.get(), F_SETFL, O_APPEND | O_NONBLOCK), 0);
  struct stat facts {};
  ASSERT_EQ(::fstat(file.get(), &facts), 0);
  const FdInfo info = own(file);
  EXPECT_EQ(info.pos, 77);
  EXPECT_EQ(info.flags & ~static_cast<uint32_t>(0100000),  // O_LARGEFILE of the kernel
            static_cast<uint32_t>(O_RDWR | O_CLOEXEC | O_APPEND | O_NONBLOCK));
  EXPECT_EQ(info.ino, facts.st_ino);
  EXPECT_FALSE(info.eventfd || info.timerfd || info.signalfd_mask || info.pidfd || info.scm_fds);
  EXPECT_TRUE(info.locks.empty() && info.epoll.empty() && info.inotify.empty());
}

TEST(ReadFdinfo, ReadsEventfds) {
  const UniqueFd plain(::eventfd(300, EFD_CLOEXEC));
  const UniqueFd semaphore(::eventfd(0, EFD_SEMAPHORE));
  ASSERT_TRUE(own(plain).eventfd && own(semaphore).eventfd);
  EXPECT_EQ(own(plain).eventfd->count, 300u);
  EXPECT_NE(own(plain).eventfd->id, own(semaphore).eventfd->id);
  EXPECT_EQ(own(plain).eventfd->semaphore.value_or(false), false);
  EXPECT_EQ(own(semaphore).eventfd->semaphore.value_or(true), true);
}

TEST(ReadFdinfo, ReadsTimerfds) {
  const UniqueFd timer(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC));
  const itimerspec armed{.it_interval = {3, 500}, .it_value = {100, 7}};
  ASSERT_EQ(::timerfd_settime(timer.get(), 0, &armed, nullptr), 0);
  const auto info = own(timer).timerfd;
  ASSERT_TRUE(info);
  EXPECT_EQ(info->clockid, CLOCK_BOOTTIME);
  EXPECT_EQ(info->ticks, 0u);
  EXPECT_EQ(info->settime_flags, 0u);
  EXPECT_GE(info->it_value.tv_sec, 90);
  EXPECT_LE(info->it_value.tv_sec, 100);
  EXPECT_EQ(info->it_interval.tv_sec, 3);
  EXPECT_EQ(info->it_interval.tv_nsec, 500);
}

TEST(ReadFdinfo, CountsTicksOfTimerfds) {
  const UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, 0));
  const itimerspec armed{.it_interval = {}, .it_value = {0, 1}};
  ASSERT_EQ(::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &armed, nullptr), 0);
  const auto info = own(timer).timerfd;
  ASSERT_TRUE(info);
  EXPECT_EQ(info->ticks, 1u);
  EXPECT_EQ(info->settime_flags, static_cast<uint32_t>(TFD_TIMER_ABSTIME));
  EXPECT_EQ(info->it_value.tv_sec + info->it_value.tv_nsec, 0);
}

TEST(ReadFdinfo, ReadsSignalfds) {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGUSR1);
  ::sigaddset(&set, SIGRTMAX);
  const UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC));
  EXPECT_EQ(own(fd).signalfd_mask, (uint64_t{1} << (SIGUSR1 - 1)) | (uint64_t{1} << 63));
}

// More than fits into the first buffer.
TEST(ReadFdinfo, ReadsEpollSetsOfAnySize) {
  constexpr int count = 600;
  const UniqueFd set(::epoll_create1(EPOLL_CLOEXEC));
  const UniqueFd event(::eventfd(0, 0));
  std::vector<UniqueFd> copies;
  std::vector<int> expected;
  for (int i = 0; i < count; ++i) {
    const int fd = copies.emplace_back(::dup(event.get())).get();
    epoll_event wanted{.events = EPOLLIN | EPOLLET,
                       .data = {.u64 = 0xdeadbeef00000000 + static_cast<uint64_t>(fd)}};
    ASSERT_EQ(::epoll_ctl(set.get(), EPOLL_CTL_ADD, fd, &wanted), 0);
    expected.push_back(fd);
  }
  std::vector<int> found;
  for (const EpollItem& item : own(set).epoll) {
    found.push_back(item.tfd);
    EXPECT_EQ(item.data, 0xdeadbeef00000000 + static_cast<uint64_t>(item.tfd));
    EXPECT_EQ(item.events, static_cast<uint32_t>(EPOLLIN | EPOLLET | EPOLLERR | EPOLLHUP));
    EXPECT_EQ(item.ino, own(event).ino);
  }
  std::sort(found.begin(), found.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(found, expected);
}

// More than nine, since the kernel prints the numbers in hexadecimal.
TEST(ReadFdinfo, ReadsInotifyWatches) {
  const TestDirectory directory;
  const UniqueFd fd(::inotify_init1(IN_CLOEXEC));
  for (int i = 1; i <= 20; ++i) {
    const std::string name = "watched" + std::to_string(i);
    const UniqueFd file = directory.create(name);
    ASSERT_EQ(::inotify_add_watch(fd.get(), (directory / name).c_str(), IN_MODIFY | IN_ONESHOT), i);
  }
  auto watches = own(fd).inotify;
  std::sort(watches.begin(), watches.end(), [](auto& a, auto& b) { return a.wd < b.wd; });
  ASSERT_EQ(watches.size(), 20u);
  for (int i = 0; i < 20; ++i) {
    struct stat facts {};
    ASSERT_EQ(::stat((directory / ("watched" + std::to_string(i + 1))).c_str(), &facts), 0);
    const InotifyWatch& watch = watches[static_cast<std::size_t>(i)];
    EXPECT_EQ(watch.wd, i + 1);
    EXPECT_EQ(watch.ino, facts.st_ino);
    EXPECT_EQ(watch.mask & IN_MODIFY, static_cast<uint32_t>(IN_MODIFY));
  }
}

TEST(ReadFdinfo, ReadsPidfds) {
  const pid_t self = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    end_with_parent(self);
    for (;;) ::pause();
  }
  const UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  ASSERT_TRUE(own(fd).pidfd);
  EXPECT_EQ(own(fd).pidfd->pid, child);
  EXPECT_EQ(own(fd).pidfd->nspid.front(), child);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(own(fd).pidfd->pid, -1);
}

TEST(ReadFdinfo, CountsDescriptorsInFlight) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd sender(ends[0]);
  const UniqueFd receiver(ends[1]);
  EXPECT_EQ(own(receiver).scm_fds, 0u);
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  char byte = 'x';
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  *head = {.cmsg_len = CMSG_LEN(sizeof(ends)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  std::copy_n(reinterpret_cast<const char*>(ends), sizeof(ends), CMSG_DATA(head));
  ASSERT_EQ(::sendmsg(sender.get(), &message, 0), 1);
  EXPECT_EQ(own(receiver).scm_fds, 2u);
}

TEST(ReadFdinfo, ReadsTheNumberOfAPseudoTerminal) {
  const UniqueFd terminal(::posix_openpt(O_RDWR | O_NOCTTY));
  if (!terminal) GTEST_SKIP() << "no pseudo terminals here";
  const std::string name = ::ptsname(terminal.get());
  ASSERT_TRUE(own(terminal).tty_index);
  EXPECT_EQ("/dev/pts/" + std::to_string(*own(terminal).tty_index), name);
}

TEST(ReadFdinfo, ReadsLocks) {
  const TestDirectory directory;
  const UniqueFd file = directory.create("file", 100);
  struct stat facts {};
  ASSERT_EQ(::fstat(file.get(), &facts), 0);
  ASSERT_EQ(::flock(file.get(), LOCK_EX), 0);
  struct flock posix {};
  posix.l_type = F_WRLCK;
  posix.l_start = 5;
  posix.l_len = 10;
  ASSERT_EQ(::fcntl(file.get(), F_SETLK, &posix), 0);
  struct flock of_description {};
  of_description.l_type = F_RDLCK;
  of_description.l_start = 50;
  ASSERT_EQ(::fcntl(file.get(), F_OFD_SETLK, &of_description), 0);

  const std::vector<std::string> lines = own(file).locks;
  ASSERT_EQ(lines.size(), 3u);
  const FileLock whole = parse_lock(lines[0]);
  EXPECT_EQ(whole.kind + whole.mode + whole.access, "FLOCKADVISORYWRITE");
  EXPECT_EQ(whole.last, FileLock::to_the_end);
  const FileLock part = parse_lock(lines[1]);
  EXPECT_EQ(part.kind + part.access, "POSIXWRITE");
  EXPECT_EQ(part.pid, ::getpid());
  EXPECT_EQ(part.start, 5u);
  EXPECT_EQ(part.last, 14u);
  EXPECT_EQ(part.inode, facts.st_ino);
  const FileLock description = parse_lock(lines[2]);
  EXPECT_EQ(description.kind + description.access, "OFDLCKREAD");
  EXPECT_EQ(description.pid, -1);
  EXPECT_EQ(description.start, 50u);
}

TEST(ReadFdinfo, TellsAClosedDescriptorFromAnEndedProcess) {
  expect_error(ErrorCode::not_found, "fdinfo/999999", [] { read_fdinfo(::getpid(), 999999); });
  expect_error(ErrorCode::not_found, "fd/999999", [] { fd_target(::getpid(), 999999); });
  const pid_t pid = ended_pid();
  expect_error(ErrorCode::program_gone, std::to_string(pid), [&] { read_fdinfo(pid, 0); });
  expect_error(ErrorCode::program_gone, std::to_string(pid), [&] { fd_target(pid, pid, 0); });
  expect_error(ErrorCode::program_gone, std::to_string(pid), [&] { list_fds(pid); });
}

TEST(ListFds, ListsTheDescriptorsOfAnotherProcessInOrder) {
  const TestChild child([](const TestChild::Ready& ready) {
    ready();  // its pipe is closed now, too
    ::close_range(0, ~0u, 0);
    const int zero = ::open("/dev/null", O_RDONLY);
    for (const int fd : {1000, 11, 2}) ::dup2(zero, fd);
    for (;;) ::pause();
  });
  const std::vector<int> expected{0, 2, 11, 1000};
  for (int i = 0; i < 5000 && list_fds(child.pid()) != expected; ++i) ::usleep(1000);
  EXPECT_EQ(list_fds(child.pid()), expected);
  EXPECT_EQ(list_fds(child.pid(), child.pid()), expected);
  EXPECT_EQ(fd_target(child.pid(), 1000), "/dev/null");
}

TEST(ListFds, AZombieHasNone) {
  const TestChild child([] { ::_exit(0); });
  wait_for_end(child.pid());
  EXPECT_TRUE(list_fds(child.pid()).empty());
}

TEST(ListFds, SeesTheTableOfAThread) {
  const UniqueFd event(::eventfd(5, EFD_CLOEXEC));
  std::thread([&] {
    ASSERT_EQ(::unshare(CLONE_FILES), 0);
    UniqueFd only_here(::fcntl(event.get(), F_DUPFD_CLOEXEC, 700));
    const auto here = list_fds(::getpid(), ::gettid());
    const auto there = list_fds(::getpid());
    EXPECT_EQ(std::count(here.begin(), here.end(), only_here.get()), 1);
    EXPECT_EQ(std::count(there.begin(), there.end(), only_here.get()), 0);
    EXPECT_EQ(read_fdinfo(::getpid(), ::gettid(), only_here.get()).eventfd->count, 5u);
    EXPECT_EQ(fd_target(::getpid(), ::gettid(), only_here.get()), "anon_inode:[eventfd]");
  }).join();
}

}  // namespace
}  // namespace torpor::process
