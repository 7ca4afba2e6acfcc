// System calls in which a thread was stopped.
//
// Most are entered again by the kernel when the thread goes on, timeouts included (-ERESTART...).
// Two kinds need help:
//  - calls that the kernel never restarts: it has already decided to return EINTR (epoll_wait,
//    sigtimedwait, sockets with a timeout ...; signal(7)). The decision is taken back, and a
//    relative timeout is cut down to what is left.
//  - at a restart, calls whose timeout only the kernel knew (-ERESTART_RESTARTBLOCK: nanosleep,
//  poll,
//    futex). The time left is worked out from when the thread began to wait, and the call is begun
//    anew in the new thread, so that the kernel's restart block is as it was.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "process/held_process.h"
#include "process/tracee.h"
#include "proto/snapshot.pb.h"
#include "resource/kept_timeouts.h"

namespace torpor::resource {

// When threads began to wait, by tid (in our pid namespace). Kept by a supervisor from checkpoint
// to checkpoint: a call that the kernel has restarted once no longer tells what it was.
struct WaitLog {
  struct Wait {
    std::int64_t number = -1;
    std::array<std::uint64_t, 6> arguments{};
    std::int64_t began_ns = 0;     // CLOCK_MONOTONIC of ours
    std::int64_t deadline_ns = 0;  // once known; 0: not yet
    // The thread was seen to run since: only a call that the kernel has restarted can be this one.
    bool maybe_over = false;
  };
  std::map<pid_t, Wait> waits;
  KeptDeadlines kept_deadlines;  // since the last stop
};

// Before the stop: notes which threads wait in a call with a timeout, and since when.
void look_at_waits(std::span<const pid_t> members, WaitLog& log);

// After the stop, before capture_threads(): takes back what would become an EINTR.
void keep_calls_alive(process::HeldProcess& held, WaitLog& log, std::int64_t stopped_ns);

// After capture_threads(): the time left of calls that only the kernel could continue, at the
// moment `now_ns` that the image has for its clocks. The threads were stopped at `stopped_ns`.
void capture_interrupted_calls(process::HeldProcess& held, WaitLog& log, std::int64_t stopped_ns,
                               std::int64_t now_ns, snapshot::Process& process,
                               std::vector<std::string>& warnings);

// Before the program goes on: the time for which it has stood is gone also for calls that are
// entered again with what was left.
void let_calls_age(process::HeldProcess& held, WaitLog& log);

// The same at a restart, for saved registers whose call will be entered again: its timeout is
// `elapsed_ns` shorter.
void let_saved_call_age(pid_t pid, snapshot::Thread& saved, std::int64_t elapsed_ns);

// At a restart: a call that could not be told any more ends as it would after a signal handler.
void end_unknown_call(snapshot::Thread& saved);

// At a restart: the saved call as it has to be made for the kernel to know its timeout.
struct CallAgain {
  std::int64_t number = -1;
  std::array<std::uint64_t, 6> arguments{};
  std::array<std::uint64_t, 6> saved_arguments{};  // as the program gave them
  std::int64_t began_ns = 0;                       // CLOCK_MONOTONIC of ours
  std::int64_t deadline_ns = 0;                    // 0: none that is known
};
// `scratch`: room for 16 bytes in process `pid`, while the call is made. `elapsed_ns` of the time
// left are over.
CallAgain call_again_of(pid_t pid, const snapshot::Thread& saved, base::RemotePtr scratch,
                        std::int64_t elapsed_ns);
// It has been begun in that thread, and the kernel remembers it: for the next checkpoint.
void note_call_again(pid_t tid, const CallAgain& call, WaitLog& log);

// At a restart: begins the saved call in the stopped thread, so that the kernel knows its timeout,
// and stops the thread in it. `scratch` is room for 16 bytes in the process that may be unmapped
// afterwards; `syscall_instruction` as in process/injection.h. Must be followed by
// restore_registers(). `elapsed_ns` of the time left are over. Returns the value that the call has
// returned, or -ERESTART_RESTARTBLOCK; then it is noted in the log, for the next checkpoint.
std::int64_t begin_call_again(process::Tracee& thread, const snapshot::Thread& saved,
                              base::RemotePtr syscall_instruction, base::RemotePtr scratch,
                              std::int64_t elapsed_ns, WaitLog& log);

}  // namespace torpor::resource
