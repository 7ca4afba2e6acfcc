// Resource limits: getrlimit(2).
#pragma once

#include <string>

#include "process/call_list.h"
#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

void capture_limits(process::HeldProcess& held, snapshot::Process& process);

// Late: a limit that is in force would hinder the restart itself. A hard limit above that of the
// restarter needs CAP_SYS_RESOURCE in the first user namespace; without it the call fails, by name.
void restore_limits(process::CallList& calls, const snapshot::Process& process);

// "RLIMIT_NOFILE"; a number where it has no name.
std::string limit_name(unsigned resource);

}  // namespace torpor::resource
