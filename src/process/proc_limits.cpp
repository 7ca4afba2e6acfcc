#include "process/proc_limits.h"

#include <sys/resource.h>

#include "process/proc_scan.h"
#include "process/proc_text.h"

namespace torpor::process {

namespace {

static_assert(RLIM_NLIMITS == 16);

std::uint64_t parse_value(Scanner& line) {
  if (line.accept("unlimited")) return RLIM64_INFINITY;
  return line.number<std::uint64_t>();
}

// The lines stand in the order of the numbers (proc_pid_limits() in fs/proc/base.c).
Limit parse_limit(Scanner line, int resource) {
  constexpr std::size_t kNameColumn = 26;
  line.take(kNameColumn);
  Limit limit{resource, 0, 0};
  limit.soft = parse_value(line);
  limit.hard = parse_value(line);
  return limit;
}

}  // namespace

std::vector<Limit> read_limits(pid_t pid) {
  const ProcText text(proc_path(pid, "limits"));
  Scanner rest(text.view(), text.path());
  rest.line().expect("Limit");
  std::vector<Limit> limits;
  limits.reserve(RLIM_NLIMITS);
  for (int resource = 0; resource < RLIM_NLIMITS; ++resource) {
    limits.push_back(parse_limit(rest.line(), resource));
  }
  return limits;
}

}  // namespace torpor::process
