#include "resource/epoll.h"

#include <sys/socket.h>

#include <algorithm>

#include "resource/epoll_restore.h"
#include "resource/epoll_test_support.h"

namespace torpor::resource {
namespace {

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
