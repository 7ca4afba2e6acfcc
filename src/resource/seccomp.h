// Seccomp filters: seccomp(2). They can be read only by one who has CAP_SYS_ADMIN in the first user
// namespace and no filter of its own (PTRACE_SECCOMP_GET_FILTER, ptrace(2)).
//
// Filters that we have ourselves were there before the program, a container's for instance: they
// are not the program's, and the restarted program will have those of its new surroundings.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "process/call_list.h"
#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

// How many filters threads of the process have beyond our own.
std::uint32_t added_filters(pid_t pid, pid_t tid);
// Whether we may read filters, and suspend them with PTRACE_O_SUSPEND_SECCOMP.
bool can_read_filters();

// Throws Error refused when filters were added but cannot be read, or threads have different ones.
// The calls of an agent that was born under a filter are subject to it.
void capture_seccomp(process::HeldProcess& held, snapshot::Process& process);

// By the leader for all threads (SECCOMP_FILTER_FLAG_TSYNC), as the last call of all: from then on
// its calls are filtered, unless it is traced with PTRACE_O_SUSPEND_SECCOMP. Nothing is added for a
// process without filters.
void restore_seccomp(process::CallList& calls, const snapshot::Process& process);

}  // namespace torpor::resource
