#include "resource/epoll.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "base/error.h"
#include "process/proc_test_support.h"
#include "resource/epoll_restore.h"
#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

constexpr int kFarNumber = 700;

base::UniqueFd epoll_set() { return base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC)); }
base::UniqueFd event_fd(unsigned count = 0) {
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

void add(const base::UniqueFd& epoll, int fd, std::uint32_t events, std::uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event), 0);
}

// What is reported now: data -> events.
std::map<std::uint64_t, std::uint32_t> reports(const base::UniqueFd& epoll) {
  std::array<epoll_event, 64> events{};
  const int count = ::epoll_wait(epoll.get(), events.data(), events.size(), 0);
  std::map<std::uint64_t, std::uint32_t> result;
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    result[event.data.u64] = event.events;
  }
  return result;
}

std::vector<process::EpollItem> items_of(const base::UniqueFd& epoll) {
  return process::read_fdinfo(::getpid(), epoll.get()).epoll;
}

Holder holder_of(int fd) {
  struct ::stat status {};
  ::fstat(fd, &status);
  return {.pid = ::getpid(), .fd = fd, .device = status.st_dev, .inode = status.st_ino};
}

FileView view_of(int fd) {
  FileView view;
  view.pid = ::getpid();
  view.fd = fd;
  view.target = process::fd_target(view.pid, fd);
  view.info = process::read_fdinfo(view.pid, fd);
  ::fstat(fd, &view.status);
  return view;
}

// This process as a computation, each of whose descriptors is an open file: its number + 1.
CaptureState state_of(const std::vector<int>& fds, bool kcmp = process::is_kcmp_allowed()) {
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

snapshot::OpenFile captured(const base::UniqueFd& epoll, CaptureState& state) {
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
std::map<int, snapshot::EpollItem> by_number(const snapshot::OpenFile& file) {
  std::map<int, snapshot::EpollItem> result;
  for (const snapshot::EpollItem& item : file.epoll().items()) result[item.fd()] = item;
  return result;
}

std::uint64_t id_of(int fd) { return static_cast<std::uint64_t>(fd) + 1; }

TEST(Epoll, ItemsAreCaptured) {
  const base::UniqueFd epoll = epoll_set();
  const base::UniqueFd event = event_fd();
  const Pipe pipe;
  constexpr std::uint64_t kData = 0xfedcba9876543210;
  add(epoll, event.get(), EPOLLIN | EPOLLET, kData);
  add(epoll, pipe.reader.get(), EPOLLIN | EPOLLEXCLUSIVE, 2);
  CaptureState state = state_of({event.get(), pipe.reader.get(), pipe.writer.get()});
  auto items = by_number(captured(epoll, state));
  ASSERT_EQ(items.size(), 2U);
  EXPECT_EQ(items[event.get()].data(), kData);
  EXPECT_EQ(items[event.get()].events(), EPOLLIN | EPOLLET | EPOLLERR | EPOLLHUP);
  EXPECT_EQ(items[event.get()].open_file(), id_of(event.get()));
  EXPECT_EQ(items[pipe.reader.get()].events(), EPOLLIN | EPOLLEXCLUSIVE | EPOLLERR | EPOLLHUP);
  EXPECT_EQ(items[pipe.reader.get()].open_file(), id_of(pipe.reader.get()));
}

TEST(Epoll, EmptySetIsOne) {
  CaptureState state;
  EXPECT_EQ(captured(epoll_set(), state).epoll().items_size(), 0);
}

// Closed, but alive under another number; the old number is something else of the same inode.
// With kcmp(2), and as where it is refused.
class EpollTarget : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && !process::is_kcmp_allowed()) GTEST_SKIP() << "needs kcmp(2)";
  }
};
INSTANTIATE_TEST_SUITE_P(Kcmp, EpollTarget, testing::Bool());

TEST_P(EpollTarget, IsFoundUnderAnotherNumber) {
  const base::UniqueFd epoll = epoll_set();
  Pipe pipe;
  const int number = pipe.reader.get();
  const base::UniqueFd kept(::fcntl(number, F_DUPFD_CLOEXEC, 0));
  add(epoll, number, EPOLLIN, 1);
  ASSERT_EQ(::dup3(pipe.writer.get(), number, O_CLOEXEC), number);
  CaptureState state = state_of({number, pipe.writer.get(), kept.get()}, GetParam());
  auto items = by_number(captured(epoll, state));
  EXPECT_EQ(items[number].open_file(), id_of(kept.get()));
}

TEST_P(EpollTarget, IsToldFromOthersOfTheSameFile) {
  const base::UniqueFd epoll = epoll_set();
  const base::UniqueFd event = event_fd();
  const base::UniqueFd kept(::fcntl(event.get(), F_DUPFD_CLOEXEC, 0));
  const base::UniqueFd stranger = event_fd();  // has the same inode
  add(epoll, event.get(), EPOLLIN | EPOLLET, 1);
  const auto before = process::read_fdinfo(::getpid(), epoll.get()).epoll;
  ASSERT_EQ(::dup3(stranger.get(), event.get(), O_CLOEXEC), event.get());
  CaptureState state = state_of({event.get(), stranger.get(), kept.get()}, GetParam());
  EXPECT_EQ(by_number(captured(epoll, state))[event.get()].open_file(), id_of(kept.get()));
  const auto after = process::read_fdinfo(::getpid(), epoll.get()).epoll;
  ASSERT_EQ(after.size(), 1U) << "an item is left";
  EXPECT_EQ(after[0].events, before[0].events);
  EXPECT_EQ(after[0].data, before[0].data);
}

TEST_P(EpollTarget, IsNotTakenForAnother) {
  const base::UniqueFd epoll = epoll_set();
  base::UniqueFd event = event_fd();
  const int number = event.get();
  const base::UniqueFd outside(::fcntl(number, F_DUPFD_CLOEXEC, 0));
  const base::UniqueFd stranger = event_fd();
  add(epoll, number, EPOLLIN, 1);
  event.reset();
  CaptureState state = state_of({stranger.get()}, GetParam());
  snapshot::OpenFile file;
  const auto kind = make_epoll_kind();
  const FileView view = view_of(epoll.get());
  kind->capture(view, state, file);
  process::expect_error(base::ErrorCode::refused, "no process of the computation has open",
                        [&] { kind->finish_capture(view, state, file); });
}

TEST(Epoll, SameNumberTwiceIsToldApart) {
  const base::UniqueFd epoll = epoll_set();
  base::UniqueFd first = event_fd();
  const int number = first.get();
  const base::UniqueFd first_kept(::fcntl(number, F_DUPFD_CLOEXEC, 0));
  add(epoll, number, EPOLLIN, 1);
  const base::UniqueFd second = event_fd();
  ASSERT_EQ(::dup3(second.get(), number, O_CLOEXEC), number);
  add(epoll, number, EPOLLIN, 2);
  CaptureState state = state_of({first_kept.get(), second.get()});
  state.open_file_of[{::getpid(), number}] = id_of(second.get());
  if (!state.kcmp) {
    process::expect_error(base::ErrorCode::refused, "several files",
                          [&] { captured(epoll, state); });
    return;
  }
  const snapshot::OpenFile file = captured(epoll, state);
  std::map<std::uint64_t, std::uint64_t> file_of;
  for (const auto& item : file.epoll().items()) file_of[item.data()] = item.open_file();
  EXPECT_EQ(file_of[1], id_of(first_kept.get()));
  EXPECT_EQ(file_of[2], id_of(second.get()));
}

TEST(Epoll, SocketIsFoundByItsInode) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const base::UniqueFd one(ends[0]);
  const base::UniqueFd other(ends[1]);
  const base::UniqueFd epoll = epoll_set();
  add(epoll, one.get(), EPOLLIN, 1);
  CaptureState state = state_of({one.get(), other.get()});
  state.holders.clear();  // only the representatives know it
  snapshot::OpenFile file;
  const auto kind = make_epoll_kind();
  kind->capture(view_of(epoll.get()), state, file);
  kind->finish_capture(view_of(epoll.get()), state, file);
  EXPECT_EQ(by_number(file)[one.get()].open_file(), id_of(one.get()));
}

TEST(Epoll, LostTargetIsRefused) {
  const base::UniqueFd epoll = epoll_set();
  base::UniqueFd event = event_fd();
  const int number = event.get();
  const base::UniqueFd outside(::fcntl(number, F_DUPFD_CLOEXEC, 0));
  const base::UniqueFd stranger = event_fd();
  add(epoll, number, EPOLLIN, 1);
  event.reset();
  CaptureState state = state_of({stranger.get()});
  const auto kind = make_epoll_kind();
  if (state.kcmp) {  // without it any eventfd seems to be the one
    const auto refusal = kind->check(view_of(epoll.get()), state);
    ASSERT_TRUE(refusal);
    EXPECT_FALSE(refusal->certain);
    EXPECT_NE(refusal->reason.find(std::to_string(number)), std::string::npos);
  }
  snapshot::OpenFile file;
  kind->capture(view_of(epoll.get()), state, file);
  EXPECT_THROW(kind->finish_capture(view_of(epoll.get()), state, file), base::Error);
}

TEST(Epoll, SetInFlightIsRefused) {
  const base::UniqueFd epoll = epoll_set();
  const base::UniqueFd event = event_fd();
  process::HeldProcess other;
  CaptureState state = state_of({event.get()});
  state.processes[::getppid()] = &other;  // stopped, and none of them has our descriptor
  EXPECT_FALSE(make_epoll_kind()->check(view_of(epoll.get()), state)) << "there is nothing in it";
  add(epoll, event.get(), EPOLLIN, 1);
  EXPECT_TRUE(make_epoll_kind()->check(view_of(epoll.get()), state));
}

// ---- restore

WatchedItem item(int number, std::uint32_t events, std::uint64_t data, int target) {
  WatchedItem watched;
  watched.item.set_fd(number);
  watched.item.set_events(events);
  watched.item.set_data(data);
  watched.target = target;
  return watched;
}

const process::EpollItem* find_item(const std::vector<process::EpollItem>& items,
                                    std::uint64_t data) {
  const auto found = std::find_if(items.begin(), items.end(),
                                  [data](const auto& entry) { return entry.data == data; });
  return found == items.end() ? nullptr : &*found;
}

TEST(EpollRestore, ItemsGetNumbersThatMeanOtherThingsHere) {
  const base::UniqueFd epoll = epoll_set();
  const base::UniqueFd event = event_fd(1);
  const Pipe pipe;
  constexpr std::uint64_t kData = 0xfedcba9876543210;
  // The set's own number, the standard input's, each other's, and one far away.
  const std::vector<WatchedItem> items{
      item(epoll.get(), EPOLLIN | EPOLLET, kData, event.get()),
      item(0, EPOLLIN, 2, event.get()),
      item(event.get(), EPOLLIN, 3, pipe.reader.get()),
      item(pipe.reader.get(), EPOLLIN | EPOLLEXCLUSIVE, 4, event.get()),
      item(kFarNumber, EPOLLOUT, 5, pipe.writer.get()),
  };
  EXPECT_TRUE(add_items(epoll.get(), items).empty());
  const auto now = items_of(epoll);
  ASSERT_EQ(now.size(), items.size());
  for (const WatchedItem& wanted : items) {
    const auto* found = find_item(now, wanted.item.data());
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->tfd, wanted.item.fd());
    EXPECT_EQ(found->events, wanted.item.events() | EPOLLERR | EPOLLHUP);
    EXPECT_EQ(found->ino, holder_of(wanted.target).inode);
  }
  const auto reported = reports(epoll);
  EXPECT_EQ(reported.size(), 4U);
  EXPECT_FALSE(reported.contains(3)) << "the pipe is empty";
}

TEST(EpollRestore, OurOwnDescriptorsStayAsTheyWere) {
  const base::UniqueFd epoll = epoll_set();
  const base::UniqueFd event = event_fd(1);
  const std::vector<int> before = process::list_fds(::getpid());
  const auto input = holder_of(0).inode;
  add_items(epoll.get(), std::vector{item(0, EPOLLIN, 1, event.get()),
                                     item(kFarNumber, EPOLLIN, 2, event.get())});
  EXPECT_EQ(process::list_fds(::getpid()), before);
  EXPECT_EQ(holder_of(0).inode, input);
}

TEST(EpollRestore, ReportedOneShotSleeps) {
  const base::UniqueFd epoll = epoll_set();
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const base::UniqueFd one(ends[0]);
  base::UniqueFd other(ends[1]);
  ASSERT_EQ(::write(other.get(), "x", 1), 1);
  // As a program would have left it: the one-shot item reported, another item ready.
  const base::UniqueFd event = event_fd(1);
  EXPECT_TRUE(add_items(epoll.get(), std::vector{item(one.get(), EPOLLONESHOT, 1, one.get()),
                                                 item(event.get(), EPOLLIN, 2, event.get())})
                  .empty());
  other.reset();  // even a hang-up is not reported
  const auto reported = reports(epoll);
  EXPECT_EQ(reported.size(), 1U);
  EXPECT_TRUE(reported.contains(2));
  EXPECT_TRUE(is_disarmed(find_item(items_of(epoll), 1)->events));

  epoll_event event_again{};
  event_again.events = EPOLLIN | EPOLLONESHOT;
  event_again.data.u64 = 9;
  ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_MOD, one.get(), &event_again), 0);
  EXPECT_TRUE(reports(epoll).contains(9));
}

TEST(EpollRestore, OneShotWithNothingToReportIsNamed) {
  const base::UniqueFd epoll = epoll_set();
  const Pipe pipe;
  const std::vector<int> named = add_items(
      epoll.get(), std::vector{item(kFarNumber, EPOLLONESHOT | EPOLLET, 1, pipe.reader.get())});
  EXPECT_EQ(named, std::vector{kFarNumber});
  ASSERT_EQ(::write(pipe.writer.get(), "x", 1), 1);
  EXPECT_TRUE(reports(epoll).empty()) << "it must not report data";
}

TEST(EpollRestore, ArmedOneShotReportsOnce) {
  const base::UniqueFd epoll = epoll_set();
  const base::UniqueFd event = event_fd(1);
  constexpr std::uint32_t kArmed = EPOLLIN | EPOLLONESHOT | EPOLLERR | EPOLLHUP;
  add_items(epoll.get(), std::vector{item(event.get(), kArmed, 1, event.get())});
  EXPECT_EQ(reports(epoll).size(), 1U);
  EXPECT_TRUE(reports(epoll).empty());
}

TEST(EpollRestore, ReportedEdgeIsSilentUntilTheNextOne) {
  const base::UniqueFd epoll = epoll_set();
  const base::UniqueFd event = event_fd(1);
  const base::UniqueFd other = event_fd(1);
  std::vector items{item(event.get(), EPOLLIN | EPOLLET, 1, event.get()),
                    item(other.get(), EPOLLIN | EPOLLET, 2, other.get())};
  items[0].item.set_reported(true);
  add_items(epoll.get(), items);
  const auto seen = reports(epoll);
  EXPECT_FALSE(seen.contains(1));
  EXPECT_TRUE(seen.contains(2));
  ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
  EXPECT_TRUE(reports(epoll).contains(1));
}

TEST(EpollRestore, NestedSetFilledAfterTheOuterOneWakesIt) {
  const base::UniqueFd outer = epoll_set();
  const base::UniqueFd inner = epoll_set();
  const base::UniqueFd event = event_fd(1);
  add_items(outer.get(), std::vector{item(inner.get(), EPOLLIN, 1, inner.get())});
  add_items(inner.get(), std::vector{item(event.get(), EPOLLIN, 2, event.get())});
  EXPECT_TRUE(reports(outer).contains(1));
}

TEST(EpollRestore, ItemOfAFileThatCannotBeWatchedIsAnError) {
  const base::UniqueFd epoll = epoll_set();
  const base::UniqueFd directory(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_THROW(add_items(epoll.get(), std::vector{item(9, EPOLLIN, 1, directory.get())}),
               base::Error);
}

// Everything from a set of this process to a copy of it, through the model.
TEST(EpollRestore, FilledFromTheModel) {
  const base::UniqueFd epoll = epoll_set();
  const base::UniqueFd event = event_fd(1);
  add(epoll, event.get(), EPOLLIN | EPOLLET, 77);
  CaptureState capture = state_of({event.get(), epoll.get()});
  snapshot::Computation model;
  model.add_open_files()->set_id(id_of(event.get()));
  *model.add_open_files() = captured(epoll, capture);
  model.mutable_open_files(1)->set_id(id_of(epoll.get()));

  const auto kind = make_epoll_kind();
  RestoreState restore;
  restore.model = &model;
  restore.open_files[id_of(event.get())] = event_fd(1);
  restore.open_files[id_of(epoll.get())] = kind->restore(model.open_files(1), restore);
  process::HeldProcess holder;
  kind->finish_restore(model.open_files(1), restore, holder, epoll.get());
  const base::UniqueFd& copy = restore.open_files[id_of(epoll.get())];
  EXPECT_EQ(items_of(copy).at(0).tfd, event.get());
  EXPECT_TRUE(reports(copy).contains(77));
  EXPECT_TRUE(reports(copy).empty()) << "edge-triggered";
  EXPECT_TRUE(restore.warnings.empty());

  restore.open_files.erase(id_of(event.get()));
  EXPECT_THROW(kind->finish_restore(model.open_files(1), restore, holder, epoll.get()),
               base::Error);
}

}  // namespace
}  // namespace torpor::resource
