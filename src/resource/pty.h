// Pseudo terminals whose master is in the computation (script, tmux, expect): both sides are made
// anew, under the old number where it is free, with settings, window size and what was in them.
//
// The session that has such a terminal as its own takes it again by itself: restart/session.cpp.
#pragma once

#include <memory>

#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_pty_master_kind();
std::unique_ptr<FileKind> make_pty_slave_kind();

}  // namespace torpor::resource
