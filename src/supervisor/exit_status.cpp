#include "supervisor/exit_status.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>

namespace torpor::supervisor {

int exit_status(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

int wait_status(int code, int status) {
  switch (code) {
    case CLD_EXITED: return (status & 0xff) << 8;
    case CLD_KILLED: return status & 0x7f;
    case CLD_DUMPED: return (status & 0x7f) | 0x80;
    case CLD_CONTINUED: return 0xffff;
    default: return (status & 0xff) << 8 | 0x7f;  // CLD_STOPPED, CLD_TRAPPED
  }
}

std::string describe_end(int wait_status) {
  if (!WIFSIGNALED(wait_status)) {
    return fmt::format("exited with status {}", WEXITSTATUS(wait_status));
  }
  const int signal = WTERMSIG(wait_status);
  const char* name = ::sigabbrev_np(signal);
  return fmt::format("was ended by signal {} ({})", signal, name != nullptr ? name : "real-time");
}

}  // namespace torpor::supervisor
