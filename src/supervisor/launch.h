// Starts a program and stands by it, or goes to stand by one that runs already.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "supervisor/mode.h"
#include "supervisor/supervisor.h"

namespace torpor::supervisor {

struct LaunchOptions {
  std::vector<std::string> command;
  std::optional<std::string> name;  // else one is made from the program's
  Mode mode = Mode::automatic;
  int stop_signal = 0;  // of the wrapped mode
  CheckpointPolicy policy;
};

// Returns the program's exit status (128+n for a signal). Ends with the root of the program; what
// it leaves running goes on alone. Throws ExecFailure, or another base::Error before the program
// has been started.
int launch(const LaunchOptions& options);

struct AttachOptions {
  pid_t pid = 0;
  std::optional<std::string> name;
  CheckpointPolicy policy;
};

// Returns when the process has ended, or when we are told to end (SIGINT, SIGTERM ...), which does
// it no harm. Throws Error program_gone, conflict when it is supervised already.
void attach(const AttachOptions& options);

// The words of a process's command line, joined by blanks; empty if they cannot be read.
std::string command_line_of(pid_t pid);

}  // namespace torpor::supervisor
