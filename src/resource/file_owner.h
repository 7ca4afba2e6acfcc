// Who gets SIGIO or SIGURG for a description: F_SETOWN_EX, F_SETSIG, O_ASYNC (fcntl(2)).
#pragma once

#include "process/held_process.h"
#include "resource/file_kind.h"

namespace torpor::resource {

// OpenFile.owner of every description in state.representatives, with the ids that the program sees.
void capture_owners(CaptureState& state);

// Sets owner, signal and O_ASYNC from inside a process that has the description as `fd`: the
// kernel takes the ids as that process sees them, keeps its user ids for the right to signal, and
// the number `fd` for the signal's si_fd. The owner must exist. An owner that is not there any
// more is only a warning.
void restore_owner(process::HeldProcess& holder, int fd, const snapshot::OpenFile& file,
                   RestoreState& state);

}  // namespace torpor::resource
