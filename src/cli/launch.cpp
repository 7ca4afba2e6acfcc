#include "supervisor/launch.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/targets.h"
#include "supervisor/spawn.h"

namespace torpor::cli {

int launch_command(const LaunchArguments& arguments) {
  try {
    return supervisor::launch(
        {.command = arguments.command,
         .name = if_given(arguments.name),
         .mode = arguments.mode,
         .stop_signal = arguments.stop_signal,
         .policy = policy(arguments.directory, arguments.keep, arguments.interval)});
  } catch (const supervisor::ExecFailure& failure) {
    print_error(failure, false);
    return failure.exit_status();  // the shell's, not ours
  }
}

}  // namespace torpor::cli
