// External or wrapped (docs/wrapped-mode.md).
#pragma once

#include <optional>

#include "agent/resident/resident_abi.h"
#include "wrapped/computation.h"

namespace torpor::supervisor {

inline constexpr int kDefaultStopSignal = agent::kDefaultStopSignal;

enum class Mode { automatic, external, wrapped };

// How a program that is to be started now will be held; nothing: from outside. Automatic takes the
// external mode where the host allows ptrace.
std::optional<wrapped::Computation> choose_mode(Mode mode, int stop_signal);

}  // namespace torpor::supervisor
