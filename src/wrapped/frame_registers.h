// From what a signal handler finds on its stack to what ptrace would have shown, and back.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "agent/resident/frame.h"
#include "agent/resident/resident_abi.h"
#include "process/proc_syscall.h"
#include "process/stopped_thread.h"

namespace torpor::wrapped {

// How a handler of the program would end the call in which the thread was stopped.
enum class CallEnd { none, by_any_handler, by_handler_without_restart };

struct StopRegisters {
  process::Registers registers{};
  CallEnd end = CallEnd::none;
  std::uint64_t behind_call = 0;
};

// `bases`: of fs and gs. `seen`: the call in which the thread slept just before the signal came, if
// any. The kernel has prepared the frame for a handler with SA_RESTART (signal(7)); this takes back
// what it has decided, so that the call is entered again.
StopRegisters registers_at_stop(const agent::Frame& frame, const std::uint64_t (&bases)[2],
                                const std::optional<process::BlockedSyscall>& seen);

// Where and with what the thread goes on, as no kernel looks at -ERESTART... any more: at its
// system call instruction if it was in a call.
struct WayOn {
  process::Registers registers{};
  bool restarts = false;  // by restart_syscall(2)
};
WayOn way_on(const process::Registers& stopped);

// As in agent::ParkedThread::slept.
using SleptCall = std::array<std::uint64_t, 9>;
static_assert(sizeof(SleptCall) == sizeof(agent::ParkedThread::slept));
// From how a thread is stopped; all zeros if it is in no call that goes on.
SleptCall slept_call(const process::Registers& stopped);
// Precondition: it is in one.
process::BlockedSyscall to_call(const SleptCall& slept);

}  // namespace torpor::wrapped
