// The terminal of the user, put into raw mode for a while.
#pragma once

#include <termios.h>

namespace torpor::supervisor {

// Raw from the constructor on, as it was after the destructor, and also after a signal that ends
// this process by its own fault (SIGSEGV, SIGABRT ...). At most one at a time.
class RawMode {
 public:
  // `fd` must be a terminal and stay open. Throws Error when the modes cannot be set.
  explicit RawMode(int fd);
  ~RawMode();
  // Leaves the terminal as it is now: somebody else has it and has set it for himself.
  void abandon();
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;

 private:
  int fd_;
  termios before_{};
};

}  // namespace torpor::supervisor
