#include "process/proc_sched_clock.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <ctime>

#include "base/clock.h"
#include "base/error.h"
#include "process/proc_sched.h"
#include "process/proc_stat.h"

namespace torpor::process {

namespace {

// Room for 16384 CPUs, twice of what a kernel can be built for.
using CpuSet = std::array<cpu_set_t, 16>;

// Keeps the calling thread on one CPU.
class OnCpu {
 public:
  explicit OnCpu(int cpu) {
    if (::sched_getaffinity(0, sizeof(before_), before_.data()) != 0) {
      base::throw_system("sched_getaffinity");
    }
    CpuSet only{};
    CPU_SET_S(static_cast<std::size_t>(cpu), sizeof(only), only.data());
    there_ = ::sched_setaffinity(0, sizeof(only), only.data()) == 0;
  }
  ~OnCpu() {
    if (there_) ::sched_setaffinity(0, sizeof(before_), before_.data());
  }
  OnCpu(const OnCpu&) = delete;
  OnCpu& operator=(const OnCpu&) = delete;

  [[nodiscard]] bool there() const { return there_; }

 private:
  CpuSet before_{};
  bool there_ = false;
};

// How far this CPU's clock is behind CLOCK_MONOTONIC (it may be ahead: negative).
std::optional<int64_t> measure_here() {
  const timespec shortest{0, 1};
  ::nanosleep(&shortest, nullptr);  // so that we have just begun to run
  const int64_t now = base::clock_ns();
  const auto begun = exec_start_ns(::getpid(), ::gettid());
  if (!begun) return std::nullopt;
  return now - static_cast<int64_t>(*begun);
}

}  // namespace

std::optional<int64_t> SchedClocks::behind_monotonic(int cpu) {
  if (const auto known = behind_monotonic_.find(cpu); known != behind_monotonic_.end()) {
    return known->second;
  }
  const OnCpu here(cpu);
  const auto measured = here.there() ? measure_here() : std::nullopt;
  behind_monotonic_.emplace(cpu, measured);
  return measured;
}

std::optional<uint64_t> SchedClocks::since_last_run_ns(pid_t pid, pid_t tid) {
  const int cpu = read_stat(pid, tid).processor;
  const auto ran = exec_start_ns(pid, tid);
  if (!ran) return std::nullopt;
  const auto behind = behind_monotonic(cpu);
  if (!behind) return std::nullopt;
  const int64_t since = base::clock_ns() - *behind - static_cast<int64_t>(*ran);
  return static_cast<uint64_t>(std::max<int64_t>(since, 0));  // it may have run just now
}

}  // namespace torpor::process
