// Ctrl-Z for a program that we have given a session of its own.
//
// Its process group is "orphaned": no parent in the same session watches over it, and so the kernel
// drops the SIGTSTP of a suspend key whose action is the default one (setpgid(2), POSIX 2.4.3).
// What the kernel would have done is done here. Groups that a shell inside of the session watches
// are not orphaned, and left to the kernel.
#pragma once

#include <sys/types.h>

#include <string_view>

namespace torpor::supervisor {

// For the suspend key: stops those processes of the group that have the default action for SIGTSTP,
// if the group is orphaned. Returns whether `root` is one of those that were stopped.
bool stop_orphaned_group(pid_t group, pid_t root);

// Finds the suspend key in what is typed at a terminal.
class SuspendKey {
 public:
  // Length of the part of `typed` that ends with the key; npos if it is not in there, or if the
  // terminal `fd` (either end) does not make signals of keys just now.
  std::size_t find(int fd, std::string_view typed);

 private:
  bool quoted_ = false;  // the last byte was the "literal next" key
};

}  // namespace torpor::supervisor
