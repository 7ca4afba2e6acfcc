#include "resource/timers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "resource/held_child.h"

namespace torpor::resource {
namespace {

constexpr std::int64_t kSecond = 1000000000;
constexpr std::int64_t kHour = 3600 * kSecond;

snapshot::Process captured(HeldChild& child) {
  snapshot::Process process = child.model();
  capture_timers(child.held(), process);
  return process;
}

snapshot::Process captured(pid_t pid) {
  HeldChild held(pid);
  return captured(held);
}

int make_timer(clockid_t clock, int notify, int signal, std::uint64_t value, pid_t thread = 0) {
  struct {
    std::uint64_t value;
    std::int32_t signal, notify, thread, unused[11];
  } const event{value, signal, notify, thread, {}};
  int id = -1;
  if (::syscall(SYS_timer_create, clock, &event, &id) != 0) ::_exit(1);
  return id;
}

void set_timer(int id, std::int64_t value, std::int64_t interval) {
  const itimerspec times{{interval / kSecond, interval % kSecond},
                         {value / kSecond, value % kSecond}};
  if (::syscall(SYS_timer_settime, id, 0, &times, nullptr) != 0) ::_exit(2);
}

// Ids with holes between them.
void make_timers() {
  const int first = make_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0xfedcba9876543210);
  const int second = make_timer(CLOCK_REALTIME, SIGEV_NONE, 0, 0);
  const int third = make_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 1);
  make_timer(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGRTMAX, 7);  // never set
  const int fifth = make_timer(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGRTMIN, 5);
  const int sixth =
      make_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGRTMIN, 6, ::gettid());
  ::syscall(SYS_timer_delete, third);
  set_timer(first, kHour, 30 * kSecond);
  set_timer(second, 2 * kHour, 0);
  set_timer(fifth, 100 * kSecond, 0);
  set_timer(sixth, 3 * kHour, 1);
}

void set_interval_timers() {
  const itimerval real{{0, 250000}, {3600, 5}};
  const itimerval processor{{0, 0}, {1000, 0}};
  ::setitimer(ITIMER_REAL, &real, nullptr);
  ::setitimer(ITIMER_PROF, &processor, nullptr);
}

TEST(Timers, TextOfTheKernel) {
  const auto timers = parse_timers(
      "ID: 60\nsignal: 60/00007fff86e452a8\nnotify: signal/pid.2634\nClockID: 0\n"
      "ID: 61\nsignal: 0/0000000000000000\nnotify: none/pid.0\nClockID: -22\nNew: 5\n"
      "ID: 7\nsignal: 32/ffffffffffffffff\nnotify: signal/tid.99\nClockID: 1\n");
  ASSERT_EQ(timers.size(), 3U);
  EXPECT_EQ(timers[0].id(), 60);
  EXPECT_EQ(timers[0].signal(), 60);
  EXPECT_EQ(timers[0].value(), 0x7fff86e452a8U);
  EXPECT_EQ(timers[0].notify(), SIGEV_SIGNAL);
  EXPECT_EQ(timers[0].notify_thread(), 0);
  EXPECT_EQ(timers[1].notify(), SIGEV_NONE);
  EXPECT_EQ(timers[1].clock(), -22);
  EXPECT_EQ(timers[2].notify(), SIGEV_SIGNAL | SIGEV_THREAD_ID);
  EXPECT_EQ(timers[2].notify_thread(), 99);
  EXPECT_EQ(timers[2].value(), ~std::uint64_t{0});
  EXPECT_TRUE(parse_timers("").empty());
}

TEST(Timers, DamagedTextIsAnError) {
  for (const char* text : {"signal: 1/0\n", "ID: x\n", "ID: 1\nsignal: 1\n",
                           "ID: 1\nnotify: carrier/pid.1\n", "ID: 1\nnotify: signal/pig.1\n"}) {
    process::expect_error(base::ErrorCode::internal, "timers", [&] { parse_timers(text); });
  }
}

TEST(Timers, ClocksOfOneThread) {
  std::vector<snapshot::PosixTimer> timers(3);
  timers[0].set_id(4);
  timers[0].set_clock(CLOCK_THREAD_CPUTIME_ID);
  timers[1].set_clock(CLOCK_PROCESS_CPUTIME_ID);
  timers[2].set_id(9);
  timers[2].set_clock(-2);  // the calling thread's, as pthread_getcpuclockid(3) writes it
  EXPECT_THAT(timers_of_unknown_threads(timers), testing::ElementsAre(4, 9));
}

TEST(Timers, IntervalTimersAreCaptured) {
  const TestChild child([] { set_interval_timers(); });
  const snapshot::Process process = captured(child.pid());
  ASSERT_EQ(process.interval_timers_size(), 2);
  const snapshot::IntervalTimer& real = process.interval_timers(0);
  EXPECT_EQ(real.which(), static_cast<unsigned>(ITIMER_REAL));
  EXPECT_EQ(real.interval_us(), 250000);
  EXPECT_LE(real.remaining_us(), 3600000005);
  EXPECT_GT(real.remaining_us(), 3590000000);
  EXPECT_EQ(process.interval_timers(1).which(), static_cast<unsigned>(ITIMER_PROF));
}

// What is left, give or take the time of the test.
void expect_similar(const snapshot::Process& before, const snapshot::Process& after, pid_t old_tid,
                    pid_t new_tid) {
  ASSERT_EQ(before.timers_size(), after.timers_size());
  for (const snapshot::PosixTimer& saved : before.timers()) {
    const auto same_id = [&](const snapshot::PosixTimer& timer) {
      return timer.id() == saved.id();
    };
    const auto found = std::find_if(after.timers().begin(), after.timers().end(), same_id);
    ASSERT_NE(found, after.timers().end()) << saved.id();
    snapshot::PosixTimer again = *found;
    EXPECT_NEAR(static_cast<double>(saved.remaining_ns()),
                static_cast<double>(again.remaining_ns()), 10.0 * kSecond);
    EXPECT_EQ(saved.remaining_ns() == 0, again.remaining_ns() == 0);
    again.set_remaining_ns(saved.remaining_ns());
    again.set_overrun(saved.overrun());
    if (again.notify_thread() == new_tid) again.set_notify_thread(old_tid);
    EXPECT_EQ(saved.DebugString(), again.DebugString());
  }
}

template <typename Restore>
void expect_round_trip(const Restore& restore) {
  const TestChild child([] { make_timers(); });
  const TestChild bare([] {});
  snapshot::Process saved = captured(child.pid());
  ASSERT_EQ(saved.timers_size(), 5);
  HeldChild held(bare.pid());
  for (snapshot::PosixTimer& timer : *saved.mutable_timers()) {
    if (timer.notify_thread() == child.pid()) timer.set_notify_thread(bare.pid());
  }
  restore(held.agent(), saved, TimePassed{});
  for (snapshot::PosixTimer& timer : *saved.mutable_timers()) {
    if (timer.notify_thread() == bare.pid()) timer.set_notify_thread(child.pid());
  }
  expect_similar(saved, captured(held), child.pid(), bare.pid());
}

TEST(Timers, RoundTrip) { expect_round_trip(restore_posix_timers); }

TEST(Timers, RoundTripOnOlderKernels) { expect_round_trip(restore_posix_timers_by_trying); }

TEST(Timers, IdsGoOnAsUsualAfterwards) {
  const TestChild bare([] {});
  HeldChild held(bare.pid());
  snapshot::Process saved;
  snapshot::PosixTimer& timer = *saved.add_timers();
  timer.set_id(40000);
  timer.set_clock(CLOCK_MONOTONIC);
  timer.set_signal(SIGUSR1);
  restore_posix_timers(held.agent(), saved);
  // A program that makes one more must not get an id by its uninitialized memory.
  process::Batch batch(held.agent());
  const base::RemotePtr id = batch.value(12345);
  batch.call(SYS_timer_create, {CLOCK_MONOTONIC, 0, id}, "make a timer");
  batch.run_and_fetch();
  EXPECT_NE(batch.fetched_value<int>(id), 12345);
}

TEST(Timers, IdThatIsBehindCannotBeReached) {
  const TestChild bare([] {
    make_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
    make_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
  });
  HeldChild held(bare.pid());
  snapshot::Process saved;
  saved.add_timers()->set_id(0);
  saved.mutable_timers(0)->set_clock(CLOCK_MONOTONIC);
  saved.mutable_timers(0)->set_notify(SIGEV_NONE);
  process::expect_error(base::ErrorCode::host_lacks, "timer 0 of process",
                        [&] { restore_posix_timers_by_trying(held.agent(), saved); });
}

TEST(Timers, MoreThanFitInOneMessage) {
  constexpr int kMany = 1000;
  const TestChild child([] {
    for (int i = 0; i < kMany; ++i) {
      set_timer(make_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0), kHour + i, 0);
    }
  });
  const TestChild bare([] {});
  const snapshot::Process saved = captured(child.pid());
  ASSERT_EQ(saved.timers_size(), kMany);
  HeldChild held(bare.pid());
  restore_posix_timers(held.agent(), saved);
  expect_similar(saved, captured(held), child.pid(), bare.pid());
}

TEST(Timers, IntervalTimersRoundTrip) {
  const TestChild child([] { set_interval_timers(); });
  const TestChild bare([] {});
  const snapshot::Process saved = captured(child.pid());
  HeldChild held(bare.pid());
  LeaderCalls calls(held);
  restore_interval_timers(calls, saved);
  const snapshot::Process again = captured(held);
  ASSERT_EQ(again.interval_timers_size(), 2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(again.interval_timers(i).which(), saved.interval_timers(i).which());
    EXPECT_EQ(again.interval_timers(i).interval_us(), saved.interval_timers(i).interval_us());
    EXPECT_NEAR(static_cast<double>(again.interval_timers(i).remaining_us()),
                static_cast<double>(saved.interval_timers(i).remaining_us()), 1e7);
  }
}

// What should have expired while a restart took its time is counted as if it had.
TEST(Timers, TimeThatHasPassed) {
  const TestChild bare([] {});
  HeldChild held(bare.pid());
  snapshot::Process saved;
  snapshot::PosixTimer& timer = *saved.add_timers();
  timer.set_clock(CLOCK_MONOTONIC);
  timer.set_notify(SIGEV_NONE);
  timer.set_remaining_ns(100 * kSecond);
  TimePassed passed;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  passed.elapsed_ns = 30 * kSecond;
  passed.clocks.set_monotonic_ns(now.tv_sec * kSecond + now.tv_nsec - passed.elapsed_ns);
  restore_posix_timers(held.agent(), saved, passed);
  const snapshot::Process again = captured(held);
  ASSERT_EQ(again.timers_size(), 1);
  EXPECT_LE(again.timers(0).remaining_ns(), 70 * kSecond);
  EXPECT_GT(again.timers(0).remaining_ns(), 10 * kSecond);
}

TEST(Timers, NotifiedThreadThatHasEnded) {
  const TestChild child([] {
    std::thread([] {
      make_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGUSR1, 0, ::gettid());
    }).join();
  });
  const snapshot::Process saved = captured(child.pid());
  ASSERT_EQ(saved.timers_size(), 1);
  EXPECT_EQ(saved.timers(0).notify(), SIGEV_NONE);
  EXPECT_EQ(saved.timers(0).notify_thread(), 0);
}

TEST(Timers, CpuTimeOfOneThreadAmongSeveralIsRefused) {
  const TestChild alone([] { make_timer(CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 0); });
  EXPECT_EQ(captured(alone.pid()).timers_size(), 1);
  const TestChild several([](const TestChild::Ready& ready) {
    std::thread([&] {
      make_timer(CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 0);
      ready();
      for (;;) ::pause();
    }).join();
  });
  process::expect_error(base::ErrorCode::refused, "CPU time of one thread",
                        [&] { captured(several.pid()); });
}

}  // namespace
}  // namespace torpor::resource
