// Brings a computation back from its image and stands by it.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "base/progress.h"
#include "proto/control.pb.h"
#include "restart/restart.h"
#include "supervisor/control_client.h"
#include "supervisor/supervisor.h"

namespace torpor::supervisor {

struct RestartOptions {
  std::filesystem::path image;  // directory of one generation, absolute
  restart::Identity identity = restart::Identity::automatic;
  bool accept_changed_files = false;
  std::optional<std::string> name;  // else the one that it had
  CheckpointPolicy policy;          // for what is taken of it later
  bool background = false;          // nobody's input is waiting to be read
};

// Called once, when the program runs again.
using OnStarted = std::function<void(const control::Started&)>;

// Returns the program's exit status when it has ended. Throws base::Error when it could not be
// brought back; Cancelled when a signal asked us to end before it was.
int restart(const RestartOptions& options, base::Progress& progress, const OnStarted& on_started);

// The same in a process of its own that nobody waits for, in another session, with /dev/null for
// standard streams; `output` (created 0600, appended to) for the last two where it is given.
// Returns when the program runs again. Must be called while this process has one thread.
control::Started restart_in_background(const RestartOptions& options,
                                       const std::optional<std::filesystem::path>& output,
                                       const OnProgress& on_progress);

}  // namespace torpor::supervisor
