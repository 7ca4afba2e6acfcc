// The first process of a restart: it stands in the namespaces in which the original ids are free,
// and every other process grows out of it.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "process/agent_client.h"
#include "proto/snapshot.pb.h"
#include "wrapped/computation.h"

namespace torpor::restart {

struct NamespacePlan {
  // In the wrapped mode there are none: all that follows is not looked at.
  const wrapped::Computation* wrapped = nullptr;
  bool user = false;      // an ordinary user needs one to be allowed the others
  bool pid = false;       // else the ids of this host are used
  std::uint32_t uid = 0;  // as the program sees itself; outside it is ours
  std::uint32_t gid = 0;
  snapshot::Clocks clocks;  // from where CLOCK_MONOTONIC and CLOCK_BOOTTIME go on
};

struct InitHusk {
  pid_t pid = 0;  // in our own pid namespace; our child
  process::AgentClient agent;
  // Our clocks at the moment from which on those of the husk go on from the saved ones.
  std::int64_t began_monotonic_ns = 0;
  std::int64_t began_boottime_ns = 0;
  bool fresh_proc = true;  // false: /proc could not be mounted anew and shows the host's ids
};

// Throws Error host_lacks naming what this host refuses (user namespaces, time namespaces ...).
InitHusk start_init_husk(const NamespacePlan& plan);

// A further husk, child of the process that `parent` is in, with the id `seen_pid` (0: any).
// `pid` is its id in our own namespace. Throws Error conflict if the id is taken.
process::AgentClient fork_husk(process::AgentClient& parent, pid_t seen_pid, int exit_signal);

}  // namespace torpor::restart
