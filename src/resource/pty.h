// Pseudo terminals whose master is in the computation (script, tmux, expect): both sides are made
// anew, under the old number where it is free, with settings, window size and what was in them.
//
// The session that has such a terminal as its own takes it again by itself: restart/session.cpp.
#pragma once

#include <memory>

#include "base/unique_fd.h"
#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_pty_master_kind();
std::unique_ptr<FileKind> make_pty_slave_kind();

// The slave of an unlocked master, close-on-exec; `flags`: O_RDWR, O_NONBLOCK ... Not by its path:
// /dev/pts may be another instance than the master's (Linux 4.13). Not with O_CLOEXEC either: /proc
// would say for ever of this description that its descriptors are closed on exec. Throws Error.
base::UniqueFd open_pty_slave(int master, int flags);

}  // namespace torpor::resource
