#include "cli/commands.h"
#include "cli/targets.h"
#include "supervisor/launch.h"

namespace torpor::cli {

int attach_command(const AttachArguments& arguments) {
  supervisor::attach({.pid = arguments.pid,
                      .name = if_given(arguments.name),
                      .policy = policy(arguments.directory, arguments.keep, arguments.interval)});
  return 0;
}

}  // namespace torpor::cli
