#include "resource/timer_fd.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/timerfd.h>

#include <ctime>

#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kSecond = 1000 * kMs;

timespec to_timespec(std::int64_t ns) { return {ns / kSecond, ns % kSecond}; }

std::int64_t now_ns(int clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

void sleep_ns(std::int64_t ns) {
  const timespec time = to_timespec(ns);
  ::nanosleep(&time, nullptr);
}

base::UniqueFd timer(int clock, int flags, std::int64_t value_ns, std::int64_t interval_ns) {
  base::UniqueFd fd(::timerfd_create(clock, TFD_CLOEXEC | TFD_NONBLOCK));
  const itimerspec value{to_timespec(interval_ns), to_timespec(value_ns)};
  EXPECT_EQ(::timerfd_settime(fd.get(), flags, &value, nullptr), 0);
  return fd;
}

bool readable(int fd) {
  pollfd poll{fd, POLLIN, 0};
  return ::poll(&poll, 1, 0) == 1;
}

// Zero if a read would wait.
std::uint64_t read_ticks(int fd) {
  std::uint64_t ticks = 0;
  if (!readable(fd)) return 0;
  EXPECT_EQ(::read(fd, &ticks, sizeof(ticks)), static_cast<ssize_t>(sizeof(ticks)));
  return ticks;
}

TEST(TimerFd, TimeLeftAndIntervalComeBack) {
  const base::UniqueFd original = timer(CLOCK_MONOTONIC, 0, 100 * kSecond, 7 * kSecond);
  const snapshot::TimerFd record = read_timer_fd(original.get());
  EXPECT_EQ(record.clock(), CLOCK_MONOTONIC);
  EXPECT_EQ(record.interval_ns(), 7 * kSecond);
  EXPECT_GT(record.remaining_ns(), 99 * kSecond);

  const base::UniqueFd copy = make_timer_fd(record, 0);
  const snapshot::TimerFd again = read_timer_fd(copy.get());
  EXPECT_LE(again.remaining_ns(), record.remaining_ns());
  EXPECT_GT(again.remaining_ns(), record.remaining_ns() - kSecond);
  EXPECT_EQ(again.interval_ns(), record.interval_ns());
  EXPECT_EQ(again.ticks(), 0U);
  EXPECT_EQ(again.settime_flags(), 0U);
}

TEST(TimerFd, AbsoluteTimerKeepsTheTimeLeftAndItsFlag) {
  const base::UniqueFd original =
      timer(CLOCK_BOOTTIME, TFD_TIMER_ABSTIME, now_ns(CLOCK_BOOTTIME) + 50 * kSecond, 0);
  snapshot::TimerFd record = read_timer_fd(original.get());
  EXPECT_EQ(record.settime_flags(), static_cast<unsigned>(TFD_TIMER_ABSTIME));
  // As if the record came from a host whose clock stood elsewhere: only the time left counts.
  record.set_remaining_ns(20 * kSecond);
  const snapshot::TimerFd again =
      read_timer_fd(make_timer_fd(record, now_ns(CLOCK_REALTIME)).get());
  EXPECT_LE(again.remaining_ns(), 20 * kSecond);
  EXPECT_GT(again.remaining_ns(), 19 * kSecond);
  EXPECT_EQ(again.settime_flags(), static_cast<unsigned>(TFD_TIMER_ABSTIME));
}

TEST(TimerFd, WallClockTimerKeepsItsWallClockTime) {
  constexpr int kFlags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
  snapshot::TimerFd record;
  record.set_clock(CLOCK_REALTIME);
  record.set_settime_flags(kFlags);
  record.set_remaining_ns(100 * kSecond);
  // Stopped 40 s ago: 60 s of the 100 are left.
  const base::UniqueFd copy = make_timer_fd(record, now_ns(CLOCK_REALTIME) - 40 * kSecond);
  const snapshot::TimerFd again = read_timer_fd(copy.get());
  EXPECT_LE(again.remaining_ns(), 60 * kSecond);
  EXPECT_GT(again.remaining_ns(), 59 * kSecond);
  EXPECT_EQ(again.settime_flags(), static_cast<unsigned>(kFlags));
  // Stopped 101 s ago: its time has passed.
  const base::UniqueFd late = make_timer_fd(record, now_ns(CLOCK_REALTIME) - 101 * kSecond);
  sleep_ns(kMs);
  EXPECT_EQ(read_ticks(late.get()), 1U);
}

TEST(TimerFd, RelativeWallClockTimerKeepsTheTimeLeft) {
  snapshot::TimerFd record;
  record.set_clock(CLOCK_REALTIME);
  record.set_remaining_ns(100 * kSecond);
  const base::UniqueFd copy = make_timer_fd(record, now_ns(CLOCK_REALTIME) - 40 * kSecond);
  EXPECT_GT(read_timer_fd(copy.get()).remaining_ns(), 99 * kSecond);
}

TEST(TimerFd, DisarmedStaysDisarmed) {
  const base::UniqueFd original = timer(CLOCK_MONOTONIC, 0, 0, 0);
  const base::UniqueFd copy = make_timer_fd(read_timer_fd(original.get()), 0);
  sleep_ns(kMs);
  EXPECT_FALSE(readable(copy.get()));
}

TEST(TimerFd, ExpiredOneShotIsReadOnce) {
  const base::UniqueFd original = timer(CLOCK_MONOTONIC, 0, 1, 0);
  sleep_ns(kMs);
  const snapshot::TimerFd record = read_timer_fd(original.get());
  EXPECT_EQ(record.ticks(), 1U);
  EXPECT_EQ(record.remaining_ns(), 0);
  const base::UniqueFd copy = make_timer_fd(record, 0);
  EXPECT_EQ(read_ticks(copy.get()), 1U);
  EXPECT_FALSE(readable(copy.get()));
  EXPECT_EQ(read_ticks(original.get()), 1U) << "looking has consumed it";
}

// An expiration that falls into our look at the timer must not be lost.
TEST(TimerFd, ExpiryDuringTheLookIsSeen) {
  for (int i = 0; i < 200; ++i) {
    const base::UniqueFd original = timer(CLOCK_MONOTONIC, 0, 1 + i * 100, 0);
    const snapshot::TimerFd record = read_timer_fd(original.get());
    EXPECT_TRUE(record.ticks() == 1 || record.remaining_ns() > 0) << "after " << i * 100 << " ns";
  }
}

TEST(TimerFd, UnreadPeriodsAreCountedAndThePhaseIsKept) {
  constexpr std::int64_t kInterval = 20 * kMs;
  const base::UniqueFd original = timer(CLOCK_MONOTONIC, 0, kInterval, kInterval);
  const std::int64_t begin = now_ns(CLOCK_MONOTONIC);
  sleep_ns(70 * kMs);
  const snapshot::TimerFd record = read_timer_fd(original.get());
  const std::int64_t end = now_ns(CLOCK_MONOTONIC);
  EXPECT_GE(record.ticks(), 3U);
  // begin + (ticks + 1) * interval is when it expires next.
  const std::int64_t next = begin + (static_cast<std::int64_t>(record.ticks()) + 1) * kInterval;
  EXPECT_NEAR(static_cast<double>(record.remaining_ns()), static_cast<double>(next - end), 5e6);
}

void expect_periods_back(const base::UniqueFd& fd, const snapshot::TimerFd& record) {
  sleep_ns(kMs);
  const snapshot::TimerFd again = read_timer_fd(fd.get());
  EXPECT_EQ(again.ticks(), record.ticks());
  EXPECT_LE(again.remaining_ns(), record.remaining_ns());
  EXPECT_GT(again.remaining_ns(), record.remaining_ns() - kSecond);
  EXPECT_EQ(read_ticks(fd.get()), record.ticks());
  EXPECT_FALSE(readable(fd.get()));
}

snapshot::TimerFd five_unread_periods() {
  snapshot::TimerFd record;
  record.set_clock(CLOCK_MONOTONIC);
  record.set_ticks(5);
  record.set_remaining_ns(3 * kSecond);
  record.set_interval_ns(4 * kSecond);
  return record;
}

TEST(TimerFd, UnreadPeriodsComeBack) {
  const snapshot::TimerFd record = five_unread_periods();
  expect_periods_back(make_timer_fd(record, 0), record);
}

TEST(TimerFd, UnreadPeriodsComeBackWithoutTheIoctl) {
  const snapshot::TimerFd record = five_unread_periods();
  const base::UniqueFd fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  arm_in_the_past(fd.get(), record);
  expect_periods_back(fd, record);
}

TEST(TimerFd, ExpiredOneShotComesBackWithoutTheIoctl) {
  snapshot::TimerFd record;
  record.set_clock(CLOCK_MONOTONIC);
  record.set_ticks(1);
  const base::UniqueFd fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  arm_in_the_past(fd.get(), record);
  sleep_ns(kMs);
  EXPECT_EQ(read_ticks(fd.get()), 1U);
  EXPECT_FALSE(readable(fd.get()));
}

TEST(TimerFd, MovedBackToTheStop) {
  snapshot::TimerFd record = five_unread_periods();
  move_back(record, kSecond / 2);  // not beyond its last expiration
  EXPECT_EQ(record.ticks(), 5U);
  EXPECT_EQ(record.remaining_ns(), 3 * kSecond + kSecond / 2);

  record = five_unread_periods();
  move_back(record, 6 * kSecond);  // two of the five came later than that
  EXPECT_EQ(record.ticks(), 3U);
  EXPECT_EQ(record.remaining_ns(), kSecond);

  record = five_unread_periods();
  record.set_ticks(0);  // a first expiration may be farther away than the interval
  move_back(record, 6 * kSecond);
  EXPECT_EQ(record.remaining_ns(), 9 * kSecond);

  record = {};
  move_back(record, kSecond);
  EXPECT_EQ(record.remaining_ns(), 0) << "a disarmed timer has been armed";
}

TEST(TimerFd, MoveOn) {
  struct Case {
    std::int64_t remaining, interval, elapsed, then_remaining;
    std::uint64_t ticks, then_ticks;
  };
  for (const Case& c :
       {Case{100, 0, 30, 70, 0, 0}, Case{100, 0, 100, 0, 0, 1}, Case{100, 40, 30, 70, 2, 2},
        Case{100, 40, 100, 40, 2, 3}, Case{100, 40, 185, 35, 0, 3}, Case{0, 0, 50, 0, 1, 1}}) {
    snapshot::TimerFd record;
    record.set_remaining_ns(c.remaining);
    record.set_interval_ns(c.interval);
    record.set_ticks(c.ticks);
    move_on(record, c.elapsed);
    EXPECT_EQ(record.remaining_ns(), c.then_remaining) << c.elapsed;
    EXPECT_EQ(record.ticks(), c.then_ticks) << c.elapsed;
  }
}

// As if it had been made when the clock stood at the recorded moment.
TEST(TimerFd, TimeThatHasPassed) {
  snapshot::TimerFd record;
  record.set_clock(CLOCK_MONOTONIC);
  for (const int flags : {0, int{TFD_TIMER_ABSTIME}}) {
    record.set_settime_flags(static_cast<std::uint32_t>(flags));
    record.set_remaining_ns(100 * kSecond);
    const std::int64_t stopped = now_ns(CLOCK_MONOTONIC) - 40 * kSecond;
    const auto left = read_timer_fd(make_timer_fd(record, 0, stopped).get()).remaining_ns();
    EXPECT_LE(left, 60 * kSecond);
    EXPECT_GT(left, 20 * kSecond);
  }
}

}  // namespace
}  // namespace torpor::resource
