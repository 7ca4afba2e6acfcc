// Timeouts that a call keeps in the program's memory: select, pselect6 and ppoll leave there what
// is left when they are interrupted, and read it there when they are entered again.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>

#include "process/stopped_thread.h"

namespace torpor::resource {

using CallArguments = std::array<std::uint64_t, 6>;
// Their ends (CLOCK_MONOTONIC of ours), by tid.
using KeptDeadlines = std::map<pid_t, std::int64_t>;

// The thread has been stopped in that call, with all others before `stopped_ns`. What is left was
// true when it was interrupted: the thread knows when that was, or it has not run since. Forgets
// what was known of the thread before.
void note_kept_timeout(const process::StoppedThread& thread, std::int64_t number,
                       const CallArguments& arguments, std::int64_t stopped_ns,
                       KeptDeadlines& deadlines);

// Before the thread goes on. False if this is no such call.
bool age_kept_timeout(process::StoppedThread& thread, std::int64_t number,
                      const CallArguments& arguments, const KeptDeadlines& deadlines);

// At a restart: `elapsed_ns` of what is left are over. Nothing happens if this is no such call.
void age_kept_timeout(pid_t pid, std::int64_t number, const CallArguments& arguments,
                      std::int64_t elapsed_ns);

}  // namespace torpor::resource
