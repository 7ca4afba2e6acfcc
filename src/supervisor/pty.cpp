#include "supervisor/pty.h"

#include <fcntl.h>

#include <cstdlib>

#include "base/error.h"
#include "resource/pty.h"

namespace torpor::supervisor {

Pty open_pty() {
  Pty pty;
  pty.master.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  int unlocked = 0;
  if (!pty.master || ::ioctl(pty.master.get(), TIOCSPTLCK, &unlocked) < 0) {
    throw base::Error(base::ErrorCode::host_lacks,
                      fmt::format("cannot make a pseudo terminal: {}", std::strerror(errno)),
                      "mount /dev/pts, or run without a terminal: </dev/null 2>&1 | cat");
  }
  pty.slave = resource::open_pty_slave(pty.master.get(), O_RDWR);
  return pty;
}

std::optional<winsize> window_size(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) < 0) return std::nullopt;
  return size;
}

void set_window_size(int fd, const winsize& size) { ::ioctl(fd, TIOCSWINSZ, &size); }

std::optional<termios> terminal_modes(int fd) {
  termios modes{};
  if (::tcgetattr(fd, &modes) < 0) return std::nullopt;
  return modes;
}

}  // namespace torpor::supervisor
