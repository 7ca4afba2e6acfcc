// pidfd_open(2): a process, as a descriptor.
//
// The process must belong to the computation, living or not yet waited for. A descriptor of one
// that has been waited for is replaced by one of a dead child of the first process: it polls
// readable and gives ESRCH and ECHILD as before. The inode number (Linux 6.9) and the exit status
// that PIDFD_GET_INFO shows of a reaped process (Linux 6.15) are not kept.
#pragma once

#include <memory>

#include "base/unique_fd.h"
#include "process/agent_client.h"

namespace torpor::resource {

class FileKind;

std::unique_ptr<FileKind> make_pid_fd_kind();

// A pidfd of a process that has ended and been waited for, close-on-exec. No SIGCHLD is sent, and
// no wait for another child can see it. Throws Error.
base::UniqueFd make_dead_pid_fd();
// The same as a child of the agent's process. A pidfd that is used must be of the user's own pid
// namespace: pidfd_send_signal(2).
base::UniqueFd make_dead_pid_fd(process::AgentClient& agent);

}  // namespace torpor::resource
