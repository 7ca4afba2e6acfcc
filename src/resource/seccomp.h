// Seccomp filters: seccomp(2). They can be read only by one who has CAP_SYS_ADMIN in the first user
// namespace and no filter of its own (PTRACE_SECCOMP_GET_FILTER, ptrace(2)).
//
// Filters that we have ourselves were there before the program, a container's for instance: they
// are not the program's, and the restarted program will have those of its new surroundings.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>

#include "process/call_list.h"
#include "process/held_process.h"
#include "process/proc_status.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

// How many filters a thread has beyond ours; `ours`: our own number.
inline std::uint32_t added_filters(const process::Status& theirs, std::uint32_t ours) {
  return theirs.seccomp_filters > ours ? theirs.seccomp_filters - ours : 0;
}
// Our own number of filters.
std::uint32_t own_filters();
// Those that a process of ours has without having asked for them.
std::uint32_t filters_around(pid_t pid);
// Whether we are in the first user namespace, the one in which capabilities are worth everything.
bool in_first_user_namespace();
// Whether we may read filters, and suspend them with PTRACE_O_SUSPEND_SECCOMP.
bool can_read_filters();
// Whether these filters of a process can be told: by us, or because its agent has noted them all.
bool can_tell_filters(pid_t pid, std::uint32_t added);

// Throws Error refused when filters were added but cannot be read, or threads have different ones.
// The calls of an agent that was born under a filter are subject to it.
void capture_seccomp(process::HeldProcess& held, snapshot::Process& process);

// By the leader for all threads (SECCOMP_FILTER_FLAG_TSYNC), as the last call of all: from then on
// its calls are filtered, but for those of a resident agent. Nothing is added for a process without
// filters.
void restore_seccomp(process::CallList& calls, const snapshot::Process& process);
// The same for one filter and a thread that is stopped: the arguments of its call. `room` is as
// large as what begins with agent::Context::message.
std::array<std::uint64_t, 3> put_filter(pid_t pid, base::RemotePtr room,
                                        const snapshot::SeccompFilter& saved);

}  // namespace torpor::resource
