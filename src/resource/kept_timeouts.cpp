#include "resource/kept_timeouts.h"

#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "process/proc_sched_clock.h"
#include "process/remote_memory.h"

namespace torpor::resource {
namespace {

constexpr std::int64_t kSecond = 1000000000;

struct KeptTimeout {
  base::RemotePtr place;
  bool microseconds;  // struct timeval
  [[nodiscard]] std::int64_t unit() const { return microseconds ? 1000 : 1; }
};

std::optional<KeptTimeout> kept_timeout(std::int64_t number, const CallArguments& a) {
  KeptTimeout kept{};
  switch (number) {
    case SYS_select: kept = {base::RemotePtr(a[4]), true}; break;
    case SYS_pselect6: kept = {base::RemotePtr(a[4]), false}; break;
    case SYS_ppoll: kept = {base::RemotePtr(a[2]), false}; break;
    default: return std::nullopt;
  }
  return kept.place.address() == 0 ? std::nullopt : std::optional(kept);
}

// Nothing if it cannot be read.
std::optional<std::int64_t> left_of(pid_t pid, const KeptTimeout& kept) {
  try {
    const auto left = process::read_value<timespec>(pid, kept.place);  // as large as a timeval
    return left.tv_sec * kSecond + left.tv_nsec * kept.unit();
  } catch (const base::Error&) {
    return std::nullopt;
  }
}

void set_left(pid_t pid, const KeptTimeout& kept, std::int64_t left_ns) {
  const std::int64_t left = std::max<std::int64_t>(0, left_ns);
  try {
    process::write_value(pid, kept.place, timespec{left / kSecond, left % kSecond / kept.unit()});
  } catch (const base::Error&) {
    return;  // it cannot be written: the kernel could not either
  }
}

// It has not run since its call was interrupted.
std::int64_t stands_since(const process::StoppedThread& thread, std::int64_t stopped_ns) {
  const auto stands = process::SchedClocks().since_last_run_ns(thread.pid(), thread.tid());
  return stands ? base::clock_ns() - static_cast<std::int64_t>(*stands) : stopped_ns;
}

}  // namespace

void note_kept_timeout(const process::StoppedThread& thread, std::int64_t number,
                       const CallArguments& arguments, std::int64_t stopped_ns,
                       KeptDeadlines& deadlines) {
  deadlines.erase(thread.tid());
  const auto kept = kept_timeout(number, arguments);
  const auto left = kept ? left_of(thread.tid(), *kept) : std::nullopt;
  if (!left) return;
  const auto told = thread.interrupted_ns();
  const std::int64_t interrupted = told ? *told : stands_since(thread, stopped_ns);
  deadlines[thread.tid()] = std::min(interrupted, stopped_ns) + *left;
}

bool age_kept_timeout(process::StoppedThread& thread, std::int64_t number,
                      const CallArguments& arguments, const KeptDeadlines& deadlines) {
  using Form = process::RunningTimeout::Form;
  const auto kept = kept_timeout(number, arguments);
  if (!kept) return false;
  const auto known = deadlines.find(thread.tid());
  if (known == deadlines.end()) return true;
  const Form form = kept->microseconds ? Form::timeval : Form::timespec;
  if (!thread.cut_down_on_leaving({form, kept->place.address(), known->second})) {
    set_left(thread.tid(), *kept, known->second - base::clock_ns());
  }
  return true;
}

void age_kept_timeout(pid_t pid, std::int64_t number, const CallArguments& arguments,
                      std::int64_t elapsed_ns) {
  const auto kept = kept_timeout(number, arguments);
  const auto left = kept ? left_of(pid, *kept) : std::nullopt;
  if (left) set_left(pid, *kept, *left - elapsed_ns);
}

}  // namespace torpor::resource
