#include "restart/stopped_children.h"

#include <signal.h>

#include <algorithm>
#include <cstring>

namespace torpor::restart {
namespace {

bool is_child_signal(const snapshot::Signal& signal) {
  siginfo_t info{};
  std::memcpy(&info, signal.info().data(), std::min(sizeof(info), signal.info().size()));
  return info.si_signo == SIGCHLD;
}

}  // namespace

StoppedChildren stopped_children_of(const snapshot::Computation& image,
                                    const snapshot::Process& parent) {
  StoppedChildren found;
  for (const snapshot::Process& child : image.processes()) {
    if (child.parent() != parent.pid() || child.state() != snapshot::Process::STOPPED) continue;
    found.any = true;
    if (child.attributes().stop_collected()) found.collected.push_back(child.pid());
  }
  const auto& pending = parent.pending();
  found.had_child_signal = std::any_of(pending.begin(), pending.end(), is_child_signal);
  return found;
}

}  // namespace torpor::restart
