#include "resource/timer_fd.h"

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <ctime>
#include <limits>

#include "base/error.h"
#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr int kAttempts = 8;
// How long after its time an expiration may take to be counted.
constexpr std::int64_t kExpiryDelayNs = 50'000;
// <linux/timerfd.h> cannot be included together with <sys/timerfd.h>. Since Linux 3.17.
constexpr unsigned long kSetTicks = _IOW('T', 0, std::uint64_t);

// timerfd knows no time beyond kNever, so this cannot overflow.
std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

timespec to_timespec(std::int64_t ns) { return {ns / kSecond, ns % kSecond}; }

// Of two times that are not negative.
std::int64_t saturated_sum(std::int64_t a, std::int64_t b) {
  return a > kNever - b ? kNever : a + b;
}

std::int64_t now_ns(int clock) {
  // The alarm clocks show the same time, but only where there is a real time clock chip.
  if (clock == CLOCK_BOOTTIME_ALARM) clock = CLOCK_BOOTTIME;
  if (clock == CLOCK_REALTIME_ALARM) clock = CLOCK_REALTIME;
  timespec now{};
  if (::clock_gettime(clock, &now) != 0) base::throw_system("cannot read clock {}", clock);
  return nanoseconds(now);
}

process::TimerfdInfo timer_info(int fd) {
  const auto info = process::read_fdinfo(::getpid(), fd).timerfd;
  if (!info) {
    throw base::Error(base::ErrorCode::internal, fmt::format("descriptor {} is no timerfd", fd));
  }
  return *info;
}

// An expired periodic timer stands still until somebody reads it; only then does the kernel count
// what it has missed and arm it again (fs/timerfd.c). Asking for the time left does so as well.
process::TimerfdInfo settled_info(int fd) {
  process::TimerfdInfo info;
  for (int i = 0; i < kAttempts; ++i) {
    itimerspec left{};
    if (::timerfd_gettime(fd, &left) != 0) base::throw_system("cannot read a timerfd");
    info = timer_info(fd);
    if (nanoseconds(info.it_value) != 0 || nanoseconds(info.it_interval) == 0) return info;
  }
  info.it_value = to_timespec(1);  // its period is shorter than our look at it
  return info;
}

bool looks_disarmed(const process::TimerfdInfo& info) {
  return nanoseconds(info.it_value) == 0 && info.ticks == 0;
}

itimerspec armed(std::int64_t value_ns, std::int64_t interval_ns) {
  return {to_timespec(interval_ns), to_timespec(value_ns)};
}

void set_timer(int fd, int flags, const itimerspec& value) {
  if (::timerfd_settime(fd, flags, &value, nullptr) != 0) {
    base::throw_system("cannot arm a timerfd");
  }
}

bool has_wall_clock(const snapshot::TimerFd& record) {
  return record.clock() == CLOCK_REALTIME || record.clock() == CLOCK_REALTIME_ALARM;
}

void arm(int fd, const snapshot::TimerFd& record, std::int64_t now,
         std::int64_t stopped_realtime_ns) {
  std::int64_t value = record.remaining_ns();
  const auto flags = static_cast<int>(record.settime_flags());
  if (value != 0 && (flags & TFD_TIMER_ABSTIME) != 0) {
    const bool same_time = has_wall_clock(record) && stopped_realtime_ns != 0;
    value = saturated_sum(value, same_time ? stopped_realtime_ns : now);
  }
  set_timer(fd, flags, armed(value, record.interval_ns()));
}

class TimerFdKind final : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "timerfd"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return view.info.timerfd.has_value();
  }

  void capture(const FileView& view, CaptureState& state, snapshot::OpenFile& file) const override {
    snapshot::TimerFd& record = *file.mutable_timer();
    record = read_timer_fd(view.take().get());
    if (state.stopped_monotonic_ns != 0) {
      move_back(record, now_ns(CLOCK_MONOTONIC) - state.stopped_monotonic_ns);
    }
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_timer();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState&) const override {
    const base::UniqueFd probe(::timerfd_create(file.timer().clock(), TFD_CLOEXEC));
    const int error = errno;
    if (probe) return std::nullopt;
    return Refusal{fmt::format("a timerfd of clock {} cannot be made: {}", file.timer().clock(),
                               std::strerror(error)),
                   error == EPERM ? "restart with CAP_WAKE_ALARM" : ""};
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    const snapshot::TimerFd& record = file.timer();
    const std::int64_t stopped = record.clock() == CLOCK_MONOTONIC ? state.began_monotonic_ns
                                 : has_wall_clock(record)          ? 0
                                                                   : state.began_boottime_ns;
    return make_timer_fd(record, state.model->clocks().realtime_ns(), stopped);
  }
};

}  // namespace

std::unique_ptr<FileKind> make_timer_fd_kind() { return std::make_unique<TimerFdKind>(); }

snapshot::TimerFd read_timer_fd(int fd) {
  process::TimerfdInfo info = settled_info(fd);
  // No time left, yet not expired: disarmed, or its interrupt is on the way.
  const std::int64_t begin = now_ns(CLOCK_MONOTONIC);
  while (looks_disarmed(info) && now_ns(CLOCK_MONOTONIC) - begin < kExpiryDelayNs) {
    ::sched_yield();
    info = settled_info(fd);
  }
  snapshot::TimerFd record;
  record.set_clock(info.clockid);
  record.set_ticks(info.ticks);
  record.set_settime_flags(info.settime_flags);
  record.set_remaining_ns(nanoseconds(info.it_value));
  record.set_interval_ns(nanoseconds(info.it_interval));
  return record;
}

void move_back(snapshot::TimerFd& record, std::int64_t elapsed_ns) {
  if (record.remaining_ns() == 0 || elapsed_ns <= 0) return;
  std::int64_t left = saturated_sum(record.remaining_ns(), elapsed_ns);
  if (const std::int64_t interval = record.interval_ns(); interval > 0 && left > interval) {
    const auto periods = static_cast<std::uint64_t>((left - 1) / interval);
    const std::uint64_t undone = std::min(periods, record.ticks());
    record.set_ticks(record.ticks() - undone);
    left -= static_cast<std::int64_t>(undone) * interval;
  }
  record.set_remaining_ns(left);
}

void move_on(snapshot::TimerFd& record, std::int64_t elapsed_ns) {
  const std::int64_t left = record.remaining_ns();
  if (left == 0 || elapsed_ns <= 0) return;
  if (left > elapsed_ns) {
    record.set_remaining_ns(left - elapsed_ns);
    return;
  }
  const std::int64_t interval = record.interval_ns();
  const std::int64_t more = interval == 0 ? 0 : (elapsed_ns - left) / interval;
  record.set_ticks(record.ticks() + 1 + static_cast<std::uint64_t>(more));
  record.set_remaining_ns(interval == 0 ? 0 : left + (more + 1) * interval - elapsed_ns);
}

base::UniqueFd make_timer_fd(const snapshot::TimerFd& saved, std::int64_t stopped_realtime_ns,
                             std::int64_t stopped_clock_ns) {
  snapshot::TimerFd record = saved;
  base::UniqueFd fd(::timerfd_create(record.clock(), TFD_CLOEXEC));
  if (!fd) base::throw_system("cannot make a timerfd of clock {}", record.clock());
  const std::int64_t now = now_ns(record.clock());
  if (stopped_clock_ns != 0) move_on(record, now - stopped_clock_ns);
  arm(fd.get(), record, now, stopped_realtime_ns);
  const std::uint64_t ticks = record.ticks();
  if (ticks != 0 && ::ioctl(fd.get(), kSetTicks, &ticks) != 0) arm_in_the_past(fd.get(), record);
  return fd;
}

void arm_in_the_past(int fd, const snapshot::TimerFd& record) {
  const std::int64_t next = saturated_sum(now_ns(record.clock()), record.remaining_ns());
  const std::int64_t interval = record.interval_ns();
  // A one-shot timer has expired: any time in the past will do.
  const auto periods = static_cast<std::int64_t>(std::min(
      record.ticks(), static_cast<std::uint64_t>(next / std::max<std::int64_t>(interval, 1))));
  const std::int64_t first = interval == 0 ? 1 : next - periods * interval;
  const auto flags = static_cast<int>(record.settime_flags()) | TFD_TIMER_ABSTIME;
  set_timer(fd, flags, armed(std::max<std::int64_t>(first, 1), interval));
}

}  // namespace torpor::resource
