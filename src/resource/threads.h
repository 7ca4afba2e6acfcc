// The threads of a process and their registers.
#pragma once

#include "process/held_process.h"
#include "process/tracee.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

// Threads, the leader first, with ids as the process sees them, registers and signal masks. All are
// stopped. The registers are those with which each thread has to go on: outside of restartable
// sequences, and with an interrupted system call marked as the kernel does it (-ERESTART...).
void capture_threads(const process::HeldProcess& held, snapshot::Process& process);

// Gives a stopped thread its registers and signal mask. The kernel enters an interrupted system
// call again by itself when the thread goes on.
void restore_registers(process::Tracee& thread, const snapshot::Thread& saved);

// The thread's id as its program knows it.
pid_t seen_tid(const process::HeldProcess& held, pid_t tid);

}  // namespace torpor::resource
