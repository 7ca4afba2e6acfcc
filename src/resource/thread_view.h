// The stopped threads of a process beside their places in the model.
#pragma once

#include <vector>

#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

struct ThreadView {
  process::StoppedThread* stopped;
  snapshot::Thread* saved;
  const agent::ThreadAnswers* answers;  // null unless they were asked for
};

// The living threads, in order. Throws Error internal unless `process` has one for each.
std::vector<ThreadView> living_threads(process::HeldProcess& held, snapshot::Process& process);
// The same, and each has answered for itself (thread_answers.h).
std::vector<ThreadView> threads_with_answers(process::HeldProcess& held,
                                             snapshot::Process& process);

}  // namespace torpor::resource
