// Addresses in a thread's memory that the kernel knows: list of robust futexes, the word that is
// cleared at the thread's end, restartable sequences.
#pragma once

#include "process/call_list.h"
#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

// `process` has its threads. The word to clear can only be asked by the thread itself
// (PR_GET_TID_ADDRESS, CONFIG_CHECKPOINT_RESTORE): one borrowed call in each.
void capture_thread_pointers(process::HeldProcess& held, snapshot::Process& process);

// By the thread itself, when its memory is in place: the kernel writes to the area of the
// restartable sequences at once.
void restore_thread_pointers(process::CallList& calls, const snapshot::Thread& thread);

}  // namespace torpor::resource
