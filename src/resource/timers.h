// Interval timers (alarm(2), setitimer(2)) and POSIX timers (timer_create(2)).
//
// All times are saved as the time that was left. The kernel does not tell whether a timer was set
// to an absolute time of the wall clock: after a restart such a timer, too, fires when the time
// that was left has passed.
#pragma once

#include <string_view>
#include <vector>

#include "process/agent_client.h"
#include "process/call_list.h"
#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

// `process` has its threads. Needs /proc/PID/timers (CONFIG_CHECKPOINT_RESTORE). Throws Error
// refused for a timer whose thread cannot be known.
void capture_timers(process::HeldProcess& held, snapshot::Process& process);

// The ids of timers that count the CPU time of "the calling thread": the kernel does not tell which
// thread that was, so they can be saved only of a process with a single thread.
std::vector<int> timers_of_unknown_threads(const std::vector<snapshot::PosixTimer>& timers);

// The clocks of a program that is being restarted go on while that takes its time, and what runs
// down with them must do so too. As it stands: they stand still.
struct TimePassed {
  snapshot::Clocks clocks;      // the program's, when it was stopped
  std::int64_t elapsed_ns = 0;  // since
};

void restore_interval_timers(process::CallList& calls, const snapshot::Process& process,
                             const TimePassed& passed = {});

// With their exact ids (PR_TIMER_CREATE_RESTORE_IDS, Linux 6.16). Threads that timers notify must
// exist. Throws base::Error.
void restore_posix_timers(process::AgentClient& agent, const snapshot::Process& process,
                          const TimePassed& passed = {});

// The same on older kernels, by making and deleting timers until the id is reached. Throws
// Error host_lacks where that would take too long.
void restore_posix_timers_by_trying(process::AgentClient& agent, const snapshot::Process& process,
                                    const TimePassed& passed = {});

// Parses the text of /proc/PID/timers. notify_thread is the number that we see, and 0 unless the
// timer notifies a thread; times are not in it.
std::vector<snapshot::PosixTimer> parse_timers(std::string_view text,
                                               std::string_view file = "timers");

}  // namespace torpor::resource
