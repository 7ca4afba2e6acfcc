// The resource limits of a process: /proc/PID/limits, which everybody may read. prlimit(2) asks for
// equal ids or CAP_SYS_RESOURCE, which even root lacks in many containers.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace torpor::process {

struct Limit {
  int resource = 0;   // RLIMIT_*
  uint64_t soft = 0;  // RLIM_INFINITY: no limit
  uint64_t hard = 0;
};

// All 16 resources (RLIM_NLIMITS) in the order of their numbers.
std::vector<Limit> read_limits(pid_t pid);

}  // namespace torpor::process
