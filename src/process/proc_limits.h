// The resource limits of a process: prlimit(2).
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

// All 16 resources (RLIM_NLIMITS) in the order of their numbers. Needs all user and group ids of
// the process to be ours, or CAP_SYS_RESOURCE.
std::vector<Limit> read_limits(pid_t pid);

}  // namespace torpor::process
