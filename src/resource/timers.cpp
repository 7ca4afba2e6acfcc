#include "resource/timers.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/error.h"
#include "process/proc_file.h"
#include "process/proc_scan.h"
#include "resource/thread_view.h"

namespace torpor::resource {
namespace {

constexpr std::int64_t kSecond = 1000000000;
constexpr std::int64_t kMicroseconds = 1000000;
constexpr int kIntervalTimers = 3;

std::int64_t ns_of(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }
std::int64_t us_of(const timeval& time) { return time.tv_sec * kMicroseconds + time.tv_usec; }

timeval timeval_of(std::int64_t us) { return {us / kMicroseconds, us % kMicroseconds}; }

void capture_interval_timers(process::HeldProcess& held, snapshot::Process& process) {
  process::Batch batch(*held.agent);
  const base::RemotePtr room = batch.space(kIntervalTimers * sizeof(itimerval));
  for (int which = 0; which < kIntervalTimers; ++which) {
    batch.call(SYS_getitimer, {which, room + static_cast<std::uint64_t>(which) * sizeof(itimerval)},
               fmt::format("read interval timer {}", which));
  }
  batch.run_and_fetch();
  for (int which = 0; which < kIntervalTimers; ++which) {
    const auto timer = batch.fetched_value<itimerval>(room + static_cast<std::uint64_t>(which) *
                                                                 sizeof(itimerval));
    if (us_of(timer.it_value) == 0 && us_of(timer.it_interval) == 0) continue;
    snapshot::IntervalTimer& saved = *process.add_interval_timers();
    saved.set_which(static_cast<std::uint32_t>(which));
    saved.set_remaining_us(us_of(timer.it_value));
    saved.set_interval_us(us_of(timer.it_interval));
  }
}

// "signal: 60/00007fff86e452a8"
void parse_signal(process::Scanner& value, snapshot::PosixTimer& timer) {
  timer.set_signal(value.number<std::int32_t>());
  value.expect("/");
  timer.set_value(value.number<std::uint64_t>(16));
}

// "notify: signal/tid.2634"; also "none/pid.0", "thread/pid.12"
void parse_notify(process::Scanner& value, snapshot::PosixTimer& timer) {
  std::int32_t notify = 0;
  if (value.accept("signal/")) {
    notify = SIGEV_SIGNAL;
  } else if (value.accept("none/")) {
    notify = SIGEV_NONE;
  } else {
    value.expect("thread/");
    notify = SIGEV_THREAD;
  }
  const bool thread = value.accept("tid.");
  if (!thread) value.expect("pid.");
  const auto id = value.number<std::int32_t>();
  timer.set_notify(thread ? notify | SIGEV_THREAD_ID : notify);
  timer.set_notify_thread(thread ? id : 0);
}

constexpr std::array<process::Field<snapshot::PosixTimer>, 3> kFields{{
    {"signal", parse_signal},
    {"notify", parse_notify},
    {"ClockID", [](process::Scanner& value,
                   snapshot::PosixTimer& timer) { timer.set_clock(value.number<std::int32_t>()); }},
}};

// A timer on the CPU time of "this thread" was made by a thread that the kernel does not tell.
bool is_thread_clock(clockid_t clock) {
  constexpr clockid_t kOwnThread = -2;  // ~0 << 3 | 4 (thread) | 2 (scheduler's time)
  return clock == CLOCK_THREAD_CPUTIME_ID || clock == kOwnThread;
}

void refuse_unknown_threads(const process::HeldProcess& held, const snapshot::Process& process,
                            const std::vector<snapshot::PosixTimer>& timers) {
  const std::vector<int> unknown = timers_of_unknown_threads(timers);
  if (unknown.empty() || process.threads_size() == 1) return;
  throw base::Error(
      base::ErrorCode::refused,
      fmt::format("process {}: timer {} counts the CPU time of one thread, and the kernel does "
                  "not tell which",
                  held.pid, unknown.front()),
      "use a timer on the CPU time of the process");
}

void capture_times(process::HeldProcess& held, snapshot::PosixTimer* timers, int count) {
  process::Batch batch(*held.agent);
  const base::RemotePtr room = batch.space(static_cast<std::size_t>(count) * sizeof(itimerspec));
  std::vector<std::size_t> overruns;
  for (int i = 0; i < count; ++i) {
    const std::string what = fmt::format("read timer {}", timers[i].id());
    batch.call(SYS_timer_gettime,
               {timers[i].id(), room + static_cast<std::uint64_t>(i) * sizeof(itimerspec)}, what);
    overruns.push_back(batch.call(SYS_timer_getoverrun, {timers[i].id()}, what));
  }
  batch.run_and_fetch();
  for (int i = 0; i < count; ++i) {
    const auto times =
        batch.fetched_value<itimerspec>(room + static_cast<std::uint64_t>(i) * sizeof(itimerspec));
    timers[i].set_remaining_ns(ns_of(times.it_value));
    timers[i].set_interval_ns(ns_of(times.it_interval));
    timers[i].set_overrun(
        static_cast<std::int32_t>(batch.result(overruns[static_cast<std::size_t>(i)])));
  }
}

// From the thread's id as we see it to that which the program sees. A thread that has ended will
// never be notified again: as if nobody were to be.
void translate_notified(snapshot::PosixTimer& timer, const std::map<pid_t, pid_t>& seen) {
  if ((timer.notify() & SIGEV_THREAD_ID) == 0) return;
  const auto thread = seen.find(timer.notify_thread());
  if (thread != seen.end()) {
    timer.set_notify_thread(thread->second);
    return;
  }
  timer.set_notify(SIGEV_NONE);
  timer.set_notify_thread(0);
}

void capture_posix_timers(process::HeldProcess& held, snapshot::Process& process) {
  constexpr std::size_t kAtOnce = 256;  // fit in one message
  const std::string text = process::read_proc_file(held.pid, "timers");
  if (text.empty()) return;
  std::map<pid_t, pid_t> seen;
  for (const ThreadView& thread : living_threads(held, process)) {
    seen[thread.stopped->tid()] = thread.saved->tid();
  }
  std::vector<snapshot::PosixTimer> timers = parse_timers(text);
  refuse_unknown_threads(held, process, timers);
  for (std::size_t first = 0; first < timers.size(); first += kAtOnce) {
    capture_times(held, &timers[first], static_cast<int>(std::min(kAtOnce, timers.size() - first)));
  }
  for (snapshot::PosixTimer& timer : timers) {
    translate_notified(timer, seen);
    *process.add_timers() = std::move(timer);
  }
}

// How much a CPU time timer gets more than it is given (set_cpu_itimer(), kernel/time/itimer.c).
std::int64_t tick_us() {
  timespec tick{};
  ::clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
  return ns_of(tick) / 1000;
}

// ITIMER_REAL that only has an interval has fired and runs on when its signal, which pends, is
// taken (posixtimer_rearm_itimer(), kernel/time/itimer.c). Set with no time left it would be off;
// so it fires again, into the signal that pends.
std::int64_t time_left(const snapshot::IntervalTimer& saved, const TimePassed& passed) {
  const std::int64_t left = saved.remaining_us();
  if (saved.which() == ITIMER_REAL)
    return std::max<std::int64_t>(1, left - passed.elapsed_ns / 1000);
  return left == 0 ? 0 : std::max<std::int64_t>(1, left - tick_us());
}

}  // namespace

std::vector<snapshot::PosixTimer> parse_timers(std::string_view text, std::string_view file) {
  std::vector<snapshot::PosixTimer> timers;
  process::Scanner scanner(text, file);
  while (!scanner.empty()) {
    process::Scanner line = scanner.line();
    const std::string_view key = line.until(':');
    if (key == "ID") {
      timers.emplace_back().set_id(line.number<std::int32_t>());
      continue;
    }
    if (timers.empty()) line.fail();
    for (const auto& field : kFields) {
      if (field.key == key) field.parse(line, timers.back());
    }
  }
  return timers;
}

std::vector<int> timers_of_unknown_threads(const std::vector<snapshot::PosixTimer>& timers) {
  std::vector<int> ids;
  for (const snapshot::PosixTimer& timer : timers) {
    if (is_thread_clock(timer.clock())) ids.push_back(timer.id());
  }
  return ids;
}

void capture_timers(process::HeldProcess& held, snapshot::Process& process) {
  capture_interval_timers(held, process);
  capture_posix_timers(held, process);
}

void restore_interval_timers(process::CallList& calls, const snapshot::Process& process,
                             const TimePassed& passed) {
  for (const snapshot::IntervalTimer& saved : process.interval_timers()) {
    const itimerval timer{timeval_of(saved.interval_us()), timeval_of(time_left(saved, passed))};
    calls.call(SYS_setitimer, {saved.which(), calls.value(timer), 0},
               fmt::format("set interval timer {}", saved.which()));
  }
}

}  // namespace torpor::resource
