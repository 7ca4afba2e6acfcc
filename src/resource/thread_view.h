// The stopped threads of a process beside their places in the model.
#pragma once

#include <vector>

#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

struct ThreadView {
  process::Tracee* tracee;
  snapshot::Thread* saved;
};

// The living threads, in order. Throws Error internal unless `process` has one for each.
std::vector<ThreadView> living_threads(process::HeldProcess& held, snapshot::Process& process);

}  // namespace torpor::resource
