// The signals that the supervisor gets: read from a descriptor instead of handled, and set back to
// what they were for the program that it starts.
#pragma once

#include <sys/signalfd.h>

#include <csignal>
#include <optional>

#include "base/unique_fd.h"

namespace torpor::supervisor {

// While it lives, the signals that concern a supervisor are blocked in this thread and in all that
// it starts, and wait in fd(). Must be made before the process has other threads.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Readable when there is one.
  [[nodiscard]] int fd() const { return fd_.get(); }
  // Takes the next one; does not wait.
  std::optional<signalfd_siginfo> next();

  // In a forked child before it runs the program: mask and dispositions as they were before us.
  // Async-signal-safe.
  void restore_in_child() const;

  // Stops this process and its whole job as Ctrl-Z would, and returns when it goes on. Does nothing
  // where nobody could let us go on again: no shell with job control above us. The kernel decides.
  void stop_job();

 private:
  base::UniqueFd fd_;
  sigset_t mask_before_{};
  struct sigaction child_before_ {};  // SIGCHLD: ignoring it would make children vanish
  struct sigaction pipe_before_ {};   // SIGPIPE: a closed stderr is not our end
};

}  // namespace torpor::supervisor
