// Starts the threads of a process in its husk. Each has the id that it had, makes the calls that
// give it its attributes, and then waits for its registers.
#pragma once

#include <functional>

#include "process/call_list.h"
#include "process/held_process.h"
#include "proto/snapshot.pb.h"
#include "restart/hole.h"

namespace torpor::restart {

// Adds what one thread has to do for itself.
using ThreadWork = std::function<void(process::CallList&, const snapshot::Thread&)>;

// All threads but the leader. Returns when they all wait. Throws Error naming the thread and the
// call that failed.
void start_threads(process::HeldProcess& husk, const snapshot::Process& process, const Hole& hole,
                   const ThreadWork& work);

}  // namespace torpor::restart
