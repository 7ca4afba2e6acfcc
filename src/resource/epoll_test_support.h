// For the tests of epoll sets: sets of our own, looked at as those of a program are.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <map>
#include <vector>

#include "base/error.h"
#include "process/kcmp.h"
#include "process/proc_fdinfo.h"
#include "resource/epoll.h"
#include "resource/file_kind.h"

namespace torpor::resource {

inline constexpr int kFarNumber = 700;

inline base::UniqueFd epoll_set() { return base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC)); }
inline base::UniqueFd event_fd(unsigned count = 0) {
  return base::UniqueFd(::eventfd(count, EFD_CLOEXEC));
}

struct Pipe {
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) base::throw_system("pipe2");
    reader.reset(ends[0]);
    writer.reset(ends[1]);
  }
  base::UniqueFd reader;
  base::UniqueFd writer;
};

inline void add(const base::UniqueFd& epoll, int fd, std::uint32_t events, std::uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event), 0);
}

// What is reported now: data -> events.
inline std::map<std::uint64_t, std::uint32_t> reports(const base::UniqueFd& epoll) {
  std::array<epoll_event, 64> events{};
  const int count = ::epoll_wait(epoll.get(), events.data(), events.size(), 0);
  std::map<std::uint64_t, std::uint32_t> result;
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    result[event.data.u64] = event.events;
  }
  return result;
}

inline std::vector<process::EpollItem> items_of(const base::UniqueFd& epoll) {
  return process::read_fdinfo(::getpid(), epoll.get()).epoll;
}

inline Holder holder_of(int fd) {
  struct ::stat status {};
  ::fstat(fd, &status);
  return {.pid = ::getpid(), .fd = fd, .device = status.st_dev, .inode = status.st_ino};
}

inline FileView view_of(int fd) {
  FileView view;
  view.pid = ::getpid();
  view.fd = fd;
  view.target = process::fd_target(view.pid, fd);
  view.info = process::read_fdinfo(view.pid, fd);
  ::fstat(fd, &view.status);
  return view;
}

// This process as a computation, each of whose descriptors is an open file: its number + 1.
inline CaptureState state_of(const std::vector<int>& fds, bool kcmp = process::is_kcmp_allowed()) {
  CaptureState state;
  state.kcmp = kcmp;
  for (const int fd : fds) {
    const auto id = static_cast<std::uint64_t>(fd) + 1;
    state.holders.push_back(holder_of(fd));
    state.open_file_of[{::getpid(), fd}] = id;
    state.representatives.emplace_back(view_of(fd), id);
  }
  return state;
}

inline snapshot::OpenFile captured(const base::UniqueFd& epoll, CaptureState& state) {
  const auto kind = make_epoll_kind();
  const FileView view = view_of(epoll.get());
  EXPECT_TRUE(kind->matches(view, state));
  EXPECT_FALSE(kind->check(view, state));
  snapshot::OpenFile file;
  kind->capture(view, state, file);
  kind->finish_capture(view, state, file);
  EXPECT_TRUE(kind->made(file));
  return file;
}

// By the number under which it was added.
inline std::map<int, snapshot::EpollItem> by_number(const snapshot::OpenFile& file) {
  std::map<int, snapshot::EpollItem> result;
  for (const snapshot::EpollItem& item : file.epoll().items()) result[item.fd()] = item;
  return result;
}

inline std::uint64_t id_of(int fd) { return static_cast<std::uint64_t>(fd) + 1; }

}  // namespace torpor::resource
