// The small attributes of a process: names, dumpable, personality, subreaper, oom_score_adj,
// parent-death signal, huge page policy, umask and directories.
#pragma once

#include "process/call_list.h"
#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

// Fills in attributes, context and the threads' names and parent-death signals; `process` has its
// threads. The parent-death signal can only be asked by the thread itself: one borrowed call in
// each.
void capture_attributes(process::HeldProcess& held, snapshot::Process& process);

// Child subreaper, oom_score_adj (through /proc/self), registrations for membarrier(2).
void restore_attributes_early(process::CallList& calls, const snapshot::Process& process);

// Huge page policy, umask, working and root directory: for the leader, when no more file is opened
// by path.
void restore_attributes_late(process::CallList& calls, const snapshot::Process& process);

// Name and personality, by each thread.
void restore_thread_attributes(process::CallList& calls, const snapshot::Thread& thread,
                               const snapshot::Process& process);

// What a change of credentials resets: the parent-death signal of each thread and, if it is the
// leader, whether the process can be dumped. A process that was dumpable by root alone (2, after a
// setuid exec) becomes undumpable (0): the kernel lets nobody set 2.
void restore_after_credentials(process::CallList& calls, const snapshot::Thread& thread,
                               const snapshot::Process& process);

}  // namespace torpor::resource
