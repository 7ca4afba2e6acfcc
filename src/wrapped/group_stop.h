// Processes that a signal has stopped: a stop that they cannot be asked about, nor their parents.
#pragma once

#include <sys/types.h>

#include "process/agent_client.h"

namespace torpor::wrapped {

// What there is to know of one before it is let go on.
struct GroupStop {
  int signal = 0;          // SIGSTOP also where nobody can tell any more
  bool collected = false;  // the parent has waited for it
  pid_t parent = 0;
};

bool is_in_group_stop(pid_t pid);
GroupStop read_group_stop(pid_t pid);

// Throws Error refused if some thread would get another signal before the order.
void check_next_signal(pid_t pid, int stop_signal);

bool has_pending(pid_t pid, int signal);

// Takes the signal from the queue of a process all of whose threads block it.
void drop_signal(process::AgentClient& agent, int signal);
// In a parent: its child, by the pid that it knows, has stopped, and it had known.
void collect_stop(process::AgentClient& parent, pid_t child);

// Waits until all threads are stopped; but somebody may have let it go on.
void await_group_stop(pid_t pid);

}  // namespace torpor::wrapped
