// What this host lets an ordinary process do, found out by doing it.
#pragma once

#include <sys/types.h>

namespace torpor::process {

// For a child on which something is tried: waits to be killed, and ends with its parent, too.
[[noreturn]] void wait_to_be_killed(pid_t parent);

// ptrace(2) of an own child, PTRACE_SEIZE.
bool may_trace_children();

}  // namespace torpor::process
