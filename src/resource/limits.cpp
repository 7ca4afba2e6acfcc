#include "resource/limits.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#include <array>

#include "base/error.h"
#include "process/proc_limits.h"

namespace torpor::resource {

std::string limit_name(unsigned resource) {
  constexpr std::array<const char*, RLIM_NLIMITS> kNames{
      "RLIMIT_CPU",      "RLIMIT_FSIZE", "RLIMIT_DATA",   "RLIMIT_STACK",
      "RLIMIT_CORE",     "RLIMIT_RSS",   "RLIMIT_NPROC",  "RLIMIT_NOFILE",
      "RLIMIT_MEMLOCK",  "RLIMIT_AS",    "RLIMIT_LOCKS",  "RLIMIT_SIGPENDING",
      "RLIMIT_MSGQUEUE", "RLIMIT_NICE",  "RLIMIT_RTPRIO", "RLIMIT_RTTIME"};
  return resource < kNames.size() ? kNames[resource] : fmt::format("limit {}", resource);
}

void capture_limits(process::HeldProcess& held, snapshot::Process& process) {
  for (const process::Limit& limit : process::read_limits(held.pid)) {
    snapshot::Limit& saved = *process.add_limits();
    saved.set_resource(static_cast<std::uint32_t>(limit.resource));
    saved.set_soft(limit.soft);
    saved.set_hard(limit.hard);
  }
}

void restore_limits(process::CallList& calls, const snapshot::Process& process) {
  for (const snapshot::Limit& saved : process.limits()) {
    const rlimit64 limit{saved.soft(), saved.hard()};
    calls.call(SYS_prlimit64, {0, saved.resource(), calls.value(limit), 0},
               fmt::format("set {} to {} of at most {}", limit_name(saved.resource()), saved.soft(),
                           saved.hard()));
  }
}

}  // namespace torpor::resource
