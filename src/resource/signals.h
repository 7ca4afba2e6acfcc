// Signal actions, queued signals, alternate signal stacks. (Masks are saved with the registers.)
#pragma once

#include "process/agent_client.h"
#include "process/call_list.h"
#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

// `process` has its threads (see capture_process_state). The alternate stack of a thread can only
// be asked by the thread itself: one borrowed call in each.
void capture_signals(process::HeldProcess& held, snapshot::Process& process);

// Of the whole process; discards queued signals that are to be ignored (signal(7)).
void restore_actions(process::CallList& calls, const snapshot::Process& process);

// Whether SIGSTOP was queued somewhere. The calls below leave it out, because whoever queues it for
// itself stops: it is to be sent with kill(2) when the threads are held and not yet let go.
bool has_queued_stop(const snapshot::Process& process);

// Process-directed signals, by the leader, all signals blocked.
void restore_queued_signals(process::AgentClient& agent, const snapshot::Process& process);

// The thread's own queued signals and its alternate stack, by the thread itself, which must not be
// running on that stack. All signals blocked.
void restore_thread_signals(process::CallList& calls, const snapshot::Thread& thread,
                            const snapshot::Process& process);

}  // namespace torpor::resource
