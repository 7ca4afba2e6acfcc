// Every row of the clocks' table, with a kernel that notes what it is given.
#include "agent/resident/clock_calls.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

#include "agent/resident/clock_wrap.h"
#include "sys/arch/x86_64/raw_syscall.h"

namespace torpor::agent {
namespace {

constexpr ClockOffsets kAhead{{100, 900000000}, {200, 1}};
constexpr ClockTime kHost{50, 200000000};

std::uint64_t address(const void* place) { return reinterpret_cast<std::uint64_t>(place); }

struct Script {
  const ClockCall* row;
  ClockTime given{};
  std::uint64_t where = 0;
};

// The kernel's side: notes the time that it is given, and tells kHost.
std::int64_t answer(void* data, const IdRequest& request) {
  auto& script = *static_cast<Script*>(data);
  EXPECT_EQ(request.number, script.row->number);
  script.where = request.args[script.row->time];
  auto* time = reinterpret_cast<ClockTime*>(script.where);
  if (script.row->how == ClockHow::kTold) {
    *time = kHost;
  } else {
    script.given = *time;
  }
  return 0;
}

IdRequest request_of(const ClockCall& row, const void* time) {
  IdRequest request{row.number, {}};
  for (const ClockWhen& when : row.when) {
    if (when.mask != 0) request.args[when.argument] |= when.value;
  }
  request.args[row.time] = address(time);
  return request;
}

std::int64_t make_really(void*, const IdRequest& r) {
  return sys::raw_syscall(r.number, r.args[0], r.args[1], r.args[2], r.args[3], r.args[4],
                          r.args[5]);
}

const ClockCall& row_of(ClockHow how) {
  for (const ClockCall& row : clock_calls) {
    if (row.how == how) return row;
  }
  throw how;
}

TEST(ClockCalls, TimesThatAreTold) {
  for (const ClockCall& row : clock_calls) {
    if (row.how != ClockHow::kTold) continue;
    SCOPED_TRACE(row.name);
    ClockTime time{};
    const IdRequest request = request_of(row, &time);
    ASSERT_EQ(find_clock_call(row.number, request.args), &row) << "hidden behind another row";
    Script script{&row};
    EXPECT_EQ(ClockCaller(kAhead, {answer, &script}).call(row, request), 0);
    const bool since_boot = row.clock == CLOCK_BOOTTIME || row.clock == CLOCK_BOOTTIME_ALARM;
    EXPECT_EQ(time.seconds, since_boot ? 250 : 151);
    EXPECT_EQ(time.nanoseconds, since_boot ? 200000001 : 100000000);
  }
}

TEST(ClockCalls, TimesThatAreGiven) {
  for (const ClockCall& row : clock_calls) {
    if (row.how != ClockHow::kDeadline) continue;
    SCOPED_TRACE(row.name);
    const ClockTime deadline{300, 5};
    const IdRequest request = request_of(row, &deadline);
    ASSERT_EQ(find_clock_call(row.number, request.args), &row) << "hidden behind another row";
    Script script{&row};
    EXPECT_EQ(ClockCaller(kAhead, {answer, &script}).call(row, request), 0);
    const bool since_boot = row.clock == CLOCK_BOOTTIME || row.clock == CLOCK_BOOTTIME_ALARM;
    EXPECT_EQ(script.given.seconds, since_boot ? 100 : 199);
    EXPECT_EQ(script.given.nanoseconds, since_boot ? 4 : 100000005);
    EXPECT_EQ(deadline.seconds, 300) << "the program's own is as it was";
  }
}

TEST(ClockCalls, WithoutADeadlineThereIsNothingToDo) {
  for (const ClockCall& row : clock_calls) {
    if (row.how != ClockHow::kDeadline) continue;
    const IdRequest request = request_of(row, nullptr);
    EXPECT_EQ(find_clock_call(row.number, request.args), nullptr) << row.name;
  }
}

TEST(ClockCalls, SpansAndOtherClocksAreTheKernels) {
  const auto is_kernels = [](std::int64_t number, std::uint64_t first, std::uint64_t second) {
    const std::uint64_t args[6] = {first, second, 1, 1, 1, 1};
    return find_clock_call(number, args) == nullptr;
  };
  EXPECT_TRUE(is_kernels(SYS_clock_gettime, CLOCK_REALTIME, 0));
  EXPECT_TRUE(is_kernels(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, 0));
  EXPECT_TRUE(is_kernels(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0));
  EXPECT_TRUE(is_kernels(SYS_clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME));
  EXPECT_TRUE(is_kernels(SYS_timer_settime, 0, 0));
  EXPECT_TRUE(is_kernels(SYS_timerfd_settime, 0, 0));
  EXPECT_TRUE(is_kernels(SYS_futex, 0, 0 /* FUTEX_WAIT */));
  EXPECT_TRUE(is_kernels(SYS_futex, 0, 9 | 256 /* FUTEX_WAIT_BITSET on CLOCK_REALTIME */));
}

TEST(ClockCalls, BadPointersAreTheKernels) {
  const ClockCall& told = row_of(ClockHow::kTold);
  const ClockCall& deadline = row_of(ClockHow::kDeadline);
  ClockCaller caller(kAhead, {make_really, nullptr});
  constexpr auto kNowhere = std::uint64_t{1} << 46;
  IdRequest request{told.number, {CLOCK_MONOTONIC, kNowhere}};
  EXPECT_EQ(caller.call(told, request), -EFAULT);
  request = {deadline.number, {CLOCK_MONOTONIC, TIMER_ABSTIME, kNowhere}};
  EXPECT_EQ(caller.call(deadline, request), -EFAULT);
}

// By the clock that the timer has: one of the host's own is not touched.
TEST(ClockCalls, TimersOfBothKinds) {
  for (const clockid_t clock : {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME}) {
    SCOPED_TRACE(clock);
    sigevent event{};
    event.sigev_notify = SIGEV_NONE;
    int timer = -1;
    ASSERT_EQ(syscall(SYS_timer_create, clock, &event, &timer), 0);
    const int descriptor = timerfd_create(clock, TFD_CLOEXEC);
    EXPECT_EQ(clock_of_timer(timer), clock);
    EXPECT_EQ(clock_of_timer_fd(descriptor), clock);
    for (const ClockHow how : {ClockHow::kTimer, ClockHow::kTimerFd}) {
      const ClockCall& row = row_of(how);
      const ClockTime times[2] = {{7, 8}, {300, 0}};
      const int which = how == ClockHow::kTimer ? timer : descriptor;
      const IdRequest request{row.number, {static_cast<std::uint64_t>(which), 1, address(times)}};
      ASSERT_EQ(find_clock_call(row.number, request.args), &row);
      struct Seen {
        ClockTime times[2];
      } seen{};
      const auto note = [](void* data, const IdRequest& r) -> std::int64_t {
        std::memcpy(data, reinterpret_cast<const void*>(r.args[2]), sizeof(Seen));
        return 0;
      };
      ClockCaller(kAhead, {note, &seen}).call(row, request);
      EXPECT_EQ(seen.times[0].seconds, 7) << "a span";
      const ClockTime* offset = offset_of(kAhead, clock);
      const ClockTime expected = offset == nullptr ? times[1] : time_of_host(times[1], *offset);
      EXPECT_EQ(ns_of(seen.times[1]), ns_of(expected));
    }
    close(descriptor);
    syscall(SYS_timer_delete, timer);
  }
  EXPECT_EQ(clock_of_timer(12345), -1);
  EXPECT_EQ(clock_of_timer_fd(-1), -1);
  EXPECT_EQ(clock_of_timer_fd(STDERR_FILENO), -1);
}

// What is over must not disarm the timer.
TEST(ClockCalls, ATimerThatIsOver) {
  const int descriptor = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  const ClockCall& row = row_of(ClockHow::kTimerFd);
  const ClockOffsets ahead{{1000000000, 0}, {}};
  const ClockTime times[2] = {{}, {1, 0}};
  const IdRequest request{row.number,
                          {static_cast<std::uint64_t>(descriptor), 1, address(times), 0}};
  EXPECT_EQ(ClockCaller(ahead, {make_really, nullptr}).call(row, request), 0);
  std::uint64_t expired = 0;
  EXPECT_EQ(read(descriptor, &expired, sizeof expired), 8);
  EXPECT_EQ(expired, 1U);
  close(descriptor);
}

TEST(ClockCalls, Uptime) {
  const ClockCall& row = row_of(ClockHow::kUptime);
  struct sysinfo host {
  }, told{};
  ASSERT_EQ(sysinfo(&host), 0);
  EXPECT_EQ(ClockCaller(kAhead, {make_really, nullptr}).call(row, {row.number, {address(&told)}}),
            0);
  EXPECT_GE(told.uptime, host.uptime + 200);
  EXPECT_EQ(told.totalram, host.totalram);
}

TEST(ClockCalls, Ticks) {
  const ClockCall& row = row_of(ClockHow::kTicks);
  tms used{};
  const clock_t before = times(&used);
  const std::int64_t told =
      ClockCaller(kAhead, {make_really, nullptr}).call(row, {row.number, {address(&used)}});
  const clock_t after = times(&used);
  EXPECT_GE(told, before + 10090);
  EXPECT_LE(told, after + 10090);
}

TEST(ClockOffsets, BeforeAndBehindTheHostsTime) {
  const ClockTime back = clock_time_of(-1);
  EXPECT_EQ(back.seconds, -1);
  EXPECT_EQ(back.nanoseconds, 999999999);
  EXPECT_EQ(ns_of(back), -1);
  const ClockTime program = time_of_program({10, 0}, back);
  EXPECT_EQ(program.seconds, 9);
  EXPECT_EQ(program.nanoseconds, 999999999);
  const ClockTime host = time_of_host(program, back);
  EXPECT_EQ(host.seconds, 10);
  EXPECT_EQ(host.nanoseconds, 0);
}

TEST(ClockOffsets, NoTimeStaysNone) {
  for (const ClockTime none : {ClockTime{-1, 0}, ClockTime{1, -1}, ClockTime{1, kNanoseconds}}) {
    const ClockTime host = time_of_host(none, {5, 5});
    EXPECT_EQ(host.seconds, none.seconds);
    EXPECT_EQ(host.nanoseconds, none.nanoseconds);
  }
}

TEST(ClockOffsets, FarAheadAndLongAgo) {
  EXPECT_EQ(ns_of(time_of_host({3, 0}, {5, 0})), 0);
  EXPECT_EQ(time_of_host({INT64_MAX, 0}, {-5, 0}).seconds, INT64_MAX);
  EXPECT_EQ(time_of_host({INT64_MAX, 0}, {5, 0}).seconds, INT64_MAX - 5);
}

}  // namespace
}  // namespace torpor::agent
