// How many Landlock domains (landlock(7)) a thread is in. No file and no call tells it; but there
// can be 16 and no more, so that the number which can be added tells the number that is there.
#pragma once

#include "process/agent_client.h"

namespace torpor::process {

// Of the agent's thread, which has those of the thread that it was born from. It is in 16 of them
// afterwards, with no_new_privs: they forbid it nothing but making block devices, changing mounts
// and tracing, but it must not stay in the program. Its descriptor table is its own. 0 on a kernel
// without Landlock. Throws base::Error.
unsigned landlock_layers(AgentClient& agent);

// Of the calling thread, which is left as it is.
unsigned own_landlock_layers();

}  // namespace torpor::process
