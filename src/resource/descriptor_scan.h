// Looking at the descriptors of one process, running or stopped.
#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

#include "process/proc_fdinfo.h"
#include "resource/file_kind.h"

namespace torpor::resource {

// A process whose descriptors are looked at.
struct FdOwner {
  pid_t pid = 0;
  pid_t tid = 0;  // whom to ask: a thread that still has the table
  process::AgentClient* agent = nullptr;
};

// A stopped process. None of its threads may be left out of held.threads but the agent's own.
FdOwner owner_of(const process::HeldProcess& held);
// A running one.
FdOwner owner_of(pid_t pid);

std::vector<int> descriptors_of(const FdOwner& owner);
process::FdInfo info_of(const FdOwner& owner, int fd);

// Everything about one descriptor. Throws Error not_found if it is closed, permission,
// program_gone.
FileView look_at(const FdOwner& owner, int fd, process::FdInfo info);

// The descriptor table must be the process's alone and that of all its threads (clone(2),
// CLONE_FILES; unshare(2)): says which thread or parent it is not so with. `parent` 0: unknown.
std::optional<Refusal> check_table(const FdOwner& owner, std::span<const pid_t> threads,
                                   pid_t parent);

}  // namespace torpor::resource
