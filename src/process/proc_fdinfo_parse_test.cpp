// The texts of kernels and things that a test cannot make here.
#include <gtest/gtest.h>

#include "process/proc_fdinfo.h"
#include "process/proc_lock.h"
#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::ErrorCode;

FdInfo parse(const std::string& special) {
  return parse_fdinfo("pos:\t-7\nflags:\t02100002\nmnt_id:\t17\nino:\t1038\n" + special);
}

TEST(ParseFdinfo, ReadsWhatAllHave) {
  const FdInfo info = parse("");
  EXPECT_EQ(info.pos, -7);
  EXPECT_EQ(info.flags, 02100002u);
  EXPECT_EQ(info.mnt_id, 17);
  EXPECT_EQ(info.ino, 1038u);
}

TEST(ParseFdinfo, ReadsOldEventfds) {
  const auto event = parse("eventfd-count: ffffffffffffffff\n").eventfd;
  ASSERT_TRUE(event);
  EXPECT_EQ(event->count, UINT64_MAX);
  EXPECT_EQ(event->id, -1);
  EXPECT_FALSE(event->semaphore);
}

TEST(ParseFdinfo, ReadsTimers) {
  const auto timer = parse(
      "clockid: 1\nticks: 18\nsettime flags: 03\nit_value: (99, 999963592)\nit_interval: (3, "
      "500)\n");
  ASSERT_TRUE(timer.timerfd);
  EXPECT_EQ(timer.timerfd->clockid, 1);
  EXPECT_EQ(timer.timerfd->ticks, 18u);
  EXPECT_EQ(timer.timerfd->settime_flags, 3u);
  EXPECT_EQ(timer.timerfd->it_value.tv_sec, 99);
  EXPECT_EQ(timer.timerfd->it_value.tv_nsec, 999963592);
  EXPECT_EQ(timer.timerfd->it_interval.tv_nsec, 500);
}

TEST(ParseFdinfo, ReadsEpollItemsOfNewAndOldKernels) {
  const auto items =
      parse(
          "tfd:        7 events: 80000019 data: ffffffffffffffff  pos:5 ino:22eb sdev:f\n"
          "tfd:        8 events:       1c data:                8\n")
          .epoll;
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].tfd, 7);
  EXPECT_EQ(items[0].events, 0x80000019u);
  EXPECT_EQ(items[0].data, UINT64_MAX);
  EXPECT_EQ(items[0].pos, 5);
  EXPECT_EQ(items[0].ino, 0x22ebu);
  EXPECT_EQ(items[0].sdev, 0xfu);
  EXPECT_EQ(items[1].tfd, 8);
  EXPECT_EQ(items[1].data, 8u);
}

TEST(ParseFdinfo, ReadsInotifyWatchesWithAndWithoutHandle) {
  const auto watches =
      parse(
          "inotify wd:1a ino:3c51a sdev:fe00000 mask:80000fff ignored_mask:0 fhandle-bytes:8 "
          "fhandle-type:81 f_handle:1ac50300000000ff\n"
          "inotify wd:1 ino:22e2 sdev:15 mask:2 ignored_mask:0 \n")
          .inotify;
  ASSERT_EQ(watches.size(), 2u);
  EXPECT_EQ(watches[0].wd, 26);
  EXPECT_EQ(watches[0].ino, 0x3c51au);
  EXPECT_EQ(watches[0].sdev, 0xfe00000u);
  EXPECT_EQ(watches[0].mask, 0x80000fffu);
  EXPECT_EQ(watches[0].handle_type, 0x81u);
  EXPECT_EQ(watches[0].handle, (std::vector<uint8_t>{0x1a, 0xc5, 3, 0, 0, 0, 0, 0xff}));
  EXPECT_EQ(watches[1].wd, 1);
  EXPECT_TRUE(watches[1].handle.empty());
}

TEST(ParseFdinfo, ReadsPidfds) {
  const auto pidfd = parse("Pid:\t4711\nNSpid:\t4711\t12\t1\n").pidfd;
  ASSERT_TRUE(pidfd);
  EXPECT_EQ(pidfd->pid, 4711);
  EXPECT_EQ(pidfd->nspid, (std::vector<pid_t>{4711, 12, 1}));
}

TEST(ParseFdinfo, RecognizesOtherKinds) {
  EXPECT_TRUE(parse("fanotify flags:0 event-flags:8000\nfanotify mnt_id:1b mflags:0 mask:20 "
                    "ignored_mask:0\n")
                  .fanotify);
  EXPECT_TRUE(parse("SqMask:\t0x3\nSqHead:\t0\nPollList:\nNAPI:\tdisabled\n").io_uring);
  EXPECT_TRUE(parse("pending:\t0\ntotal:\t0\nAPI:\taa:0:80000000000001ff\n").userfaultfd);
  EXPECT_EQ(parse("tty-index:\t12\n").tty_index, 12);
  EXPECT_EQ(parse("scm_fds: 3\n").scm_fds, 3u);
  EXPECT_EQ(parse("sigmask:\t8000000000000200\n").signalfd_mask, 0x8000000000000200u);
  const FdInfo none = parse("drm-driver:\tx\nno colon\n\n");
  EXPECT_FALSE(none.fanotify || none.io_uring || none.userfaultfd);
}

TEST(ParseFdinfo, RefusesOtherText) {
  const auto refuse = [](const std::string& text) {
    expect_error(ErrorCode::internal, "cannot parse /proc/7/fdinfo/3",
                 [&] { parse_fdinfo(text, "/proc/7/fdinfo/3"); });
  };
  refuse("");
  refuse("hello\n");
  refuse("pos:\tx\n");
  refuse("pos:\t0\nflags:\t09\nit_value: 3\n");
  refuse("pos:\t0\ntfd: 3 data: 3\n");
  refuse(
      "pos:\t0\ninotify wd:1 ino:1 sdev:1 mask:2 ignored_mask:0 fhandle-bytes:4 fhandle-type:1 "
      "f_handle:0011223\n");
  refuse(
      "pos:\t0\ninotify wd:1 ino:1 sdev:1 mask:2 ignored_mask:0 fhandle-bytes:2 fhandle-type:1 "
      "f_handle:00x1\n");
}

TEST(ParseLock, ReadsLeasesAndLocks) {
  const FileLock lease = parse_lock("1: LEASE  ACTIVE    READ 4920 fe:1a:10952898 0 EOF");
  EXPECT_EQ(lease.kind, "LEASE");
  EXPECT_EQ(lease.mode, "ACTIVE");
  EXPECT_EQ(lease.access, "READ");
  EXPECT_EQ(lease.dev_major, 0xfeu);
  EXPECT_EQ(lease.dev_minor, 0x1au);
  EXPECT_EQ(lease.inode, 10952898u);
  EXPECT_EQ(lease.start, 0u);
  EXPECT_EQ(lease.last, FileLock::to_the_end);
  const FileLock lock = parse_lock("12: OFDLCK ADVISORY  WRITE -1 00:15:7 20 9223372036854775806");
  EXPECT_EQ(lock.pid, -1);
  EXPECT_EQ(lock.start, 20u);
  EXPECT_EQ(lock.last, 9223372036854775806u);
}

TEST(ParseLock, RefusesOtherText) {
  for (const std::string_view text :
       {"", "1: POSIX", "1: POSIX ADVISORY READ x", "1: POSIX  ADVISORY  READ 1 00:15:7 20 "}) {
    expect_error(ErrorCode::internal, "cannot parse fdinfo/3",
                 [&] { parse_lock(text, "fdinfo/3"); });
  }
}

}  // namespace
}  // namespace torpor::process
