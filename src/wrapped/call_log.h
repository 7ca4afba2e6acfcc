// What the threads of a computation waited in when they were stopped last.
#pragma once

#include <sys/types.h>

#include <map>

#include "process/proc_syscall.h"

namespace torpor::wrapped {

// By tid (in our pid namespace); kept by a supervisor from checkpoint to checkpoint. A thread that
// was not seen asleep just before the signal, and yet comes out of a call just like its last one,
// was in that one again: the code before the instruction need not tell the number.
using CallLog = std::map<pid_t, process::BlockedSyscall>;

}  // namespace torpor::wrapped
