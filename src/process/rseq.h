// Restartable sequences (rseq(2), Linux 4.18).
#pragma once

#include <sys/types.h>

#include "process/stopped_thread.h"

namespace torpor::process {

// Where a thread has to continue once it has been stopped: at the abort address if it was inside a
// critical section, exactly as the kernel would do it. Needed before its registers are set anew:
// from then on the kernel cannot know any more that it was interrupted there.
Registers outside_critical_section(const StoppedThread& thread, const Registers& registers);

}  // namespace torpor::process
