// The terminal that the computation runs on, however its descriptors came by it: inherited, opened
// by name or as /dev/tty. The restarter's terminal is put in its place.
#pragma once

#include <memory>

#include "proto/snapshot.pb.h"
#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_terminal_kind();

// The program's side of a terminal (tty(4), pts(4)), /dev/tty included; not a master (ptmx(4)).
bool is_terminal(const FileView& view);

// Settings (termios) and window size, as saved; the size is the old one: whoever shows the terminal
// sets the real one afterwards, and the program hears of the change by SIGWINCH. Not the foreground
// group: that must be done by a process of the session. Throws Error io.
void restore_terminal(int tty, const snapshot::Terminal& terminal);

}  // namespace torpor::resource
