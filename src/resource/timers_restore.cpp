// Making POSIX timers again under their old ids.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/error.h"
#include "resource/timers.h"

namespace torpor::resource {
namespace {

constexpr std::int64_t kSecond = 1000000000;
constexpr int kMostTries = 100000;  // one id each; about 0.2 s

// Linux 6.16, newer than the headers that we are built with.
constexpr int kRestoreIds = 77;  // PR_TIMER_CREATE_RESTORE_IDS
enum RestoreIds : int { kOff = 0, kOn = 1, kGet = 2 };

// struct sigevent of the kernel: the C library calls the last member by many names.
struct KernelEvent {
  std::uint64_t value = 0;
  std::int32_t signal = 0;
  std::int32_t notify = 0;
  std::int32_t thread = 0;
  std::array<std::int32_t, 11> unused{};
};
static_assert(sizeof(KernelEvent) == 64);

bool ids_can_be_chosen() { return ::prctl(kRestoreIds, kGet, 0, 0, 0) >= 0; }

timespec timespec_of(std::int64_t ns) { return {ns / kSecond, ns % kSecond}; }

KernelEvent event_of(const snapshot::PosixTimer& timer) {
  KernelEvent event;
  event.value = timer.value();
  event.signal = timer.signal();
  event.notify = timer.notify();
  event.thread = timer.notify_thread();
  return event;
}

// The program's own clock when it was stopped; 0: not one that we set.
std::int64_t clock_then(int clock, const snapshot::Clocks& clocks) {
  if (clock == CLOCK_MONOTONIC) return clocks.monotonic_ns();
  if (clock == CLOCK_BOOTTIME || clock == CLOCK_BOOTTIME_ALARM) return clocks.boottime_ns();
  return 0;
}

bool counts_cpu_time(int clock) {
  return clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID;
}

// By the clock where we can: then the kernel itself counts what should have expired meanwhile.
void set_time(process::CallList& calls, const snapshot::PosixTimer& timer,
              const TimePassed& passed) {
  if (timer.remaining_ns() == 0) return;
  const std::int64_t then = passed.elapsed_ns > 0 ? clock_then(timer.clock(), passed.clocks) : 0;
  std::int64_t value = timer.remaining_ns() + then;
  if (then == 0 && !counts_cpu_time(timer.clock())) {
    value = std::max<std::int64_t>(1, value - passed.elapsed_ns);
  }
  const itimerspec times{timespec_of(timer.interval_ns()), timespec_of(value)};
  calls.call(SYS_timer_settime, {timer.id(), then != 0 ? TIMER_ABSTIME : 0, calls.value(times), 0},
             fmt::format("set timer {}", timer.id()));
}

std::size_t create(process::CallList& calls, const snapshot::PosixTimer& timer,
                   base::RemotePtr id) {
  return calls.call(SYS_timer_create, {timer.clock(), calls.value(event_of(timer)), id},
                    fmt::format("make timer {} on clock {}", timer.id(), timer.clock()));
}

void make_with_ids(process::AgentClient& agent, const snapshot::Process& process,
                   const TimePassed& passed) {
  auto batch = std::make_unique<process::Batch>(agent);
  const auto choose_ids = [&batch](RestoreIds how) {
    batch->call(SYS_prctl, {kRestoreIds, how, 0, 0, 0}, "choose the ids of timers");
  };
  choose_ids(kOn);
  for (const snapshot::PosixTimer& timer : process.timers()) {
    if (!batch->fits(4, sizeof(KernelEvent) + sizeof(itimerspec) + 8)) {
      batch->run();
      batch = std::make_unique<process::Batch>(agent);
    }
    create(*batch, timer, batch->value(timer.id()));
    set_time(*batch, timer, passed);
  }
  choose_ids(kOff);
  batch->run();
}

// Before Linux 6.16 ids are given in ascending order, each once.
void make_by_trying(process::AgentClient& agent, const snapshot::PosixTimer& timer,
                    const TimePassed& passed) {
  for (int i = 0; i < kMostTries; ++i) {
    process::Batch batch(agent);
    const base::RemotePtr place = batch.space(sizeof(int));
    create(batch, timer, place);
    batch.run_and_fetch();
    const int id = batch.fetched_value<int>(place);
    if (id == timer.id()) {
      process::Batch times(agent);
      set_time(times, timer, passed);
      if (!times.empty()) times.run();
      return;
    }
    agent.call(SYS_timer_delete, {id}, "delete a timer");
    if (id > timer.id()) break;
  }
  throw base::Error(base::ErrorCode::host_lacks,
                    fmt::format("timer {} of process {} cannot get its id back on this kernel",
                                timer.id(), agent.pid()),
                    "Linux 6.16 and later can choose the ids of timers");
}

}  // namespace

void restore_posix_timers_by_trying(process::AgentClient& agent, const snapshot::Process& process,
                                    const TimePassed& passed) {
  std::vector<const snapshot::PosixTimer*> ascending;
  for (const snapshot::PosixTimer& timer : process.timers()) ascending.push_back(&timer);
  std::sort(ascending.begin(), ascending.end(),
            [](const auto* a, const auto* b) { return a->id() < b->id(); });
  for (const snapshot::PosixTimer* timer : ascending) make_by_trying(agent, *timer, passed);
}

void restore_posix_timers(process::AgentClient& agent, const snapshot::Process& process,
                          const TimePassed& passed) {
  if (process.timers().empty()) return;
  if (ids_can_be_chosen()) {
    make_with_ids(agent, process, passed);
  } else {
    restore_posix_timers_by_trying(agent, process, passed);
  }
}

}  // namespace torpor::resource
