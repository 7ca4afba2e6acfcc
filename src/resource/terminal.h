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

// /dev/tty: whichever terminal its opener had.
bool is_own_terminal_device(dev_t device);
// The terminal that such a descriptor leads to. In a dry pass where the host does not let us ask,
// its holder's own terminal stands for it.
dev_t terminal_behind(const FileView& view);

// Ids as the program sees them; 0: nobody of the computation.
struct TerminalUsers {
  pid_t session = 0;  // whose controlling terminal it is
  pid_t foreground_group = 0;
};
TerminalUsers users_of_terminal(dev_t device, const CaptureState& state);
// Is it the controlling terminal of that process?
bool controls(dev_t device, pid_t pid);

// Settings (termios) and window size, as saved; the size is the old one: whoever shows the terminal
// sets the real one afterwards, and the program hears of the change by SIGWINCH. Not the foreground
// group: that must be done by a process of the session. Throws Error io.
void restore_terminal(int tty, const snapshot::Terminal& terminal);

}  // namespace torpor::resource
