// What a process and its threads are besides memory and descriptors: everything of it at once, in
// the orders that matter. The single kinds are in signals.h, credentials.h, attributes.h,
// thread_pointers.h, scheduling.h, limits.h, timers.h, seccomp.h.
#pragma once

#include <vector>

#include "process/agent_client.h"
#include "process/call_list.h"
#include "process/held_process.h"
#include "proto/snapshot.pb.h"
#include "resource/credentials.h"
#include "resource/refusals.h"
#include "resource/timers.h"

namespace torpor::resource {

// Captures all of it. Everything is stopped and the agent is in the process. `process` holds a
// Thread for every thread of `held.threads` in the same order, after one for a dead leader, with
// `tid` and `dead` set. Throws base::Error: refused for what check_stopped() finds, of which that
// which is not fatal goes to `remarks`.
void capture_process_state(process::HeldProcess& held, snapshot::Process& process,
                           std::vector<Obstacle>* remarks = nullptr);

// ---- restart, in this order. All signals are blocked; whoever makes the calls is a thread of the
// process, fresh from its husk, with all privileges that the restart has.

// By the leader, when it is a bare husk: needs /proc, disturbs nothing that follows.
void restore_process_early(process::CallList& calls, const snapshot::Process& process);

// By every thread itself, the leader included. Memory is in place (rseq and the robust list are
// registered by address, the alternate stack too); the thread runs on a stack of the agent's.
void restore_thread(process::CallList& calls, const snapshot::Thread& thread,
                    const snapshot::Process& process);

// By the leader, when all descriptors, memory and threads are there: actions, file system context,
// limits, interval timers.
void restore_process_late(process::CallList& calls, const snapshot::Process& process,
                          const TimePassed& passed = {});

// Queued signals and POSIX timers, of which there may be more than fit in one batch. After
// restore_process_late(), because setting an action may discard what is queued; by the leader.
void restore_queued(process::AgentClient& agent, const snapshot::Process& process,
                    const TimePassed& passed = {});

// Last of all, by every thread itself; the leader last, because changing credentials resets what
// is set here for the whole process. Includes the parent-death signal and no_new_privs, and for the
// leader whether it may dump core. Where seccomp filters were captured, restore_seccomp() follows.
void restore_privileges(process::CallList& calls, const snapshot::Thread& thread,
                        const snapshot::Process& process, const PresentCredentials& present);

}  // namespace torpor::resource
