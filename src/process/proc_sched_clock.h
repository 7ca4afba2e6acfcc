// How long a thread has been asleep.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>

namespace torpor::process {

// Relates the scheduler's clock of each CPU to CLOCK_MONOTONIC. To be made anew for each
// checkpoint: a relation holds as long as the hypervisor takes no time from that CPU.
class SchedClocks {
 public:
  // Nanoseconds since the thread ran last, within some 0.1 ms; too small by the time that the
  // hypervisor took from its CPU meanwhile. To be asked before the thread is stopped: stopping
  // makes it run. nullopt when the kernel does not tell when it ran, or we may not run on its CPU
  // (a cpuset) and so cannot read that CPU's clock. The first question about a CPU takes some 0.2
  // ms and moves the calling thread there and back, its affinity unchanged at the end.
  std::optional<uint64_t> since_last_run_ns(pid_t pid, pid_t tid);

 private:
  std::optional<int64_t> behind_monotonic(int cpu);

  std::map<int, std::optional<int64_t>> behind_monotonic_;  // by CPU
};

}  // namespace torpor::process
