#include "supervisor/mode.h"

#include "process/host_probe.h"

namespace torpor::supervisor {

std::optional<wrapped::Computation> choose_mode(Mode mode, int stop_signal) {
  const bool wrapped =
      mode == Mode::wrapped || (mode == Mode::automatic && !process::may_trace_children());
  if (!wrapped) return std::nullopt;
  return wrapped::new_computation(stop_signal);
}

}  // namespace torpor::supervisor
