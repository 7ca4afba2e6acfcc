// What other threads are asked with raw system calls that name them by their id.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace torpor::process {

// struct sched_attr of the kernel, its first version (the C library of Debian 12 does not have it,
// and the kernel's header quarrels with <sched.h>).
struct SchedulingFacts {
  std::uint32_t size = 48;
  std::uint32_t policy = 0;  // SCHED_*
  std::uint64_t flags = 0;   // SCHED_FLAG_*
  std::int32_t nice = 0;
  std::uint32_t priority = 0;  // of real-time policies
  std::uint64_t runtime = 0;   // SCHED_DEADLINE; others: length of a slice (Linux 6.12)
  std::uint64_t deadline = 0;
  std::uint64_t period = 0;
};
static_assert(sizeof(SchedulingFacts) == 48);

// All throw base::Error program_gone or permission; they work on any thread, running or not.

// sched_getattr(2); the nice value also of threads with a real-time policy.
SchedulingFacts read_scheduling(pid_t tid);

// The mask of processors as sched_getaffinity(2) gives it, as long as the kernel's own.
std::vector<std::byte> read_affinity(pid_t tid);

// ioprio_get(2): class << 13 | level; 0 for one that follows the nice value.
int read_io_priority(pid_t tid);

struct RobustList {
  std::uint64_t head = 0;
  std::uint64_t length = 0;
};
// get_robust_list(2); needs leave to ptrace. Head 0: none.
RobustList read_robust_list(pid_t tid);

}  // namespace torpor::process
