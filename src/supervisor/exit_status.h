// From the status of wait(2) to the exit status that a shell would show.
#pragma once

#include <string>

namespace torpor::supervisor {

// The program's own exit status, or 128 + n if signal n ended it. `wait_status` must be that of an
// ended process.
int exit_status(int wait_status);

// The inverse direction of waitid(2): its si_code and si_status in the encoding of wait(2).
int wait_status(int code, int status);

// "exited with status 3", "was ended by signal 9 (KILL)".
std::string describe_end(int wait_status);

}  // namespace torpor::supervisor
