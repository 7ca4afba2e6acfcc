// Who belongs to whom: threads, children, descendants.
//
// A process that is not stopped may start and lose threads and children while we look. Each answer
// is what was true at some moment during the call; one who must have all of them stops what was
// found and asks again until nothing new appears.
#pragma once

#include <sys/types.h>

#include <vector>

namespace torpor::process {

// The tids of a process in ascending order; a main thread that has exited is among them while
// others go on.
std::vector<pid_t> list_threads(pid_t pid);

// The children of all its threads in ascending order, zombies included. Reads task/TID/children, or
// the parent of every process where the kernel does not have that file (CONFIG_PROC_CHILDREN).
std::vector<pid_t> children_of(pid_t pid);

// All below `pid`, without `pid`, parents before children. Passes over what vanishes meanwhile;
// throws only if `pid` itself is not there. A child whose parent has ended is found below its new
// parent, that is, the nearest subreaper (PR_SET_CHILD_SUBREAPER).
//
// Between our finding a child and our looking below it the child may end and its number go to a
// stranger: one who acts on the answer compares the parent again once the process is stopped.
std::vector<pid_t> descendants_of(pid_t pid);

// The same two by the parent of every process of the host: what the two above fall back to. Blind
// to processes that /proc hides from us (its option hidepid).
std::vector<pid_t> children_by_scan(pid_t pid);
std::vector<pid_t> descendants_by_scan(pid_t pid);

}  // namespace torpor::process
