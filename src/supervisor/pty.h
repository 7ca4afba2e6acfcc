// Pseudo terminals.
#pragma once

#include <sys/ioctl.h>
#include <termios.h>

#include <optional>

#include "base/unique_fd.h"

namespace torpor::supervisor {

// Both ends; the master does not block. The supervisor keeps a slave of its own open, so that the
// terminal outlives a program that closes it for a while, as a real one would.
struct Pty {
  base::UniqueFd master;
  base::UniqueFd slave;
};

// Throws Error host_lacks when there is no /dev/pts to be had.
Pty open_pty();

// Nothing if `fd` is no terminal (any more).
std::optional<winsize> window_size(int fd);
// The kernel sends SIGWINCH to the foreground group if the size differs from what it was.
void set_window_size(int fd, const winsize& size);
std::optional<termios> terminal_modes(int fd);

}  // namespace torpor::supervisor
