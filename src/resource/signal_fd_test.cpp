#include "resource/signal_fd.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/signalfd.h>

#include <csignal>

#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

std::uint64_t bit(int signal) { return std::uint64_t{1} << (signal - 1); }

FileView view_of(int fd) {
  FileView view;
  view.info = process::read_fdinfo(::getpid(), fd);
  return view;
}

TEST(SignalFd, MaskComesBack) {
  // 33 is one that glibc would not let us add.
  const std::uint64_t mask = bit(SIGHUP) | bit(SIGUSR1) | bit(33) | bit(64);
  const base::UniqueFd original = make_signal_fd(mask);
  const FileView view = view_of(original.get());
  const auto kind = make_signal_fd_kind();
  ASSERT_TRUE(kind->matches(view, {}));

  CaptureState capture;
  snapshot::OpenFile file;
  kind->capture(view, capture, file);
  ASSERT_TRUE(kind->made(file));
  EXPECT_EQ(file.signal().mask(), mask);

  RestoreState restore;
  const base::UniqueFd copy = kind->restore(file, restore);
  EXPECT_EQ(view_of(copy.get()).info.signalfd_mask, mask);
}

TEST(SignalFd, ReadsASignalOfItsMask) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  const base::UniqueFd fd = make_signal_fd(bit(SIGUSR2));
  ::raise(SIGUSR2);
  signalfd_siginfo info{};
  EXPECT_EQ(::read(fd.get(), &info, sizeof(info)), static_cast<ssize_t>(sizeof(info)));
  EXPECT_EQ(info.ssi_signo, static_cast<std::uint32_t>(SIGUSR2));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
}  // namespace torpor::resource
