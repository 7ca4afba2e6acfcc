// Results as messages of the control protocol.
#pragma once

#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "proto/control.pb.h"

namespace torpor::supervisor {

control::Error to_message(const base::Error& error);
base::Error to_error(const control::Error& message);

control::CheckpointOutcome to_message(const checkpoint::Outcome& outcome,
                                      const checkpoint::Request& request);
control::Findings to_message(const std::vector<checkpoint::Finding>& findings);

}  // namespace torpor::supervisor
