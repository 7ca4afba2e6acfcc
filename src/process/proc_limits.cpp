#include "process/proc_limits.h"

#include <sys/resource.h>

#include "base/error.h"

namespace torpor::process {

namespace {

static_assert(RLIM_NLIMITS == 16);

Limit read_limit(pid_t pid, int resource) {
  rlimit64 limit{};
  if (::prlimit64(pid, static_cast<__rlimit_resource>(resource), nullptr, &limit) != 0) {
    base::throw_system("prlimit of process {}", pid);
  }
  return {resource, limit.rlim_cur, limit.rlim_max};
}

}  // namespace

std::vector<Limit> read_limits(pid_t pid) {
  std::vector<Limit> limits;
  limits.reserve(RLIM_NLIMITS);
  for (int resource = 0; resource < RLIM_NLIMITS; ++resource) {
    limits.push_back(read_limit(pid, resource));
  }
  return limits;
}

}  // namespace torpor::process
