#include "base/fault_point.h"

#ifdef TORPOR_FAULT_POINTS

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/error.h"

namespace torpor::base {

void fault_point(std::string_view name) {
  const char* setting = std::getenv("TORPOR_FAULT");
  if (setting == nullptr) return;
  const std::string_view wanted(setting);
  const std::size_t colon = wanted.rfind(':');
  if (colon == std::string_view::npos || wanted.substr(0, colon) != name) return;
  const std::string_view action = wanted.substr(colon + 1);
  if (action == "kill") ::kill(::getpid(), SIGKILL);
  if (action == "halt") ::kill(::getpid(), SIGSTOP);
  if (action == "pause") ::usleep(200000);
  if (action == "full") throw_errno(ENOSPC, fmt::format("fault point {}", name));
  if (action == "fail") {
    throw Error(ErrorCode::internal, fmt::format("fault point {} was switched on", name));
  }
}

}  // namespace torpor::base

#endif
