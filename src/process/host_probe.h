// What this host lets an ordinary process do, found out by doing it.
#pragma once

namespace torpor::process {

// ptrace(2) of an own child, PTRACE_SEIZE.
bool may_trace_children();

}  // namespace torpor::process
