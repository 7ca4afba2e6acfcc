#include "resource/epoll_watched.h"

#include "process/proc_test_support.h"
#include "resource/epoll_test_support.h"

namespace torpor::resource {
namespace {

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

TEST(EpollItems, SameNumberTwiceIsToldApart) {
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

TEST(EpollItems, LostTargetIsRefused) {
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

}  // namespace
}  // namespace torpor::resource
