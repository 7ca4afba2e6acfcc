#include "process/host_probe.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

namespace torpor::process {

bool may_trace_children() {
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    for (;;) ::pause();
  }
  const bool may = ::ptrace(PTRACE_SEIZE, child, nullptr, nullptr) == 0;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, __WALL);
  return may;
}

}  // namespace torpor::process
