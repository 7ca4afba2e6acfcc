// How threads are scheduled: policy, priority, nice value, processors, I/O priority, timer slack.
#pragma once

#include <cstddef>
#include <vector>

#include "process/call_list.h"
#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

// `process` has its threads. A thread that may run on every processor of this host gets an empty
// affinity: it may do so on the other host, too.
void capture_scheduling(process::HeldProcess& held, snapshot::Process& process);

// The processors of a process that nobody has bound: those of init, or ours.
std::vector<std::byte> widest_affinity();

// By the thread itself. Raising a priority above what the thread was born with needs CAP_SYS_NICE
// in the first user namespace or a resource limit; without it the call fails, by name.
void restore_scheduling(process::CallList& calls, const snapshot::Thread& thread);

}  // namespace torpor::resource
