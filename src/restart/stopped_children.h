// What a parent of processes that a signal has stopped knew of that, and is not to learn again.
#pragma once

#include <sys/types.h>

#include <vector>

#include "proto/snapshot.pb.h"

namespace torpor::restart {

struct StoppedChildren {
  bool any = false;
  std::vector<pid_t> collected;   // for whose stop it has waited already; ids of the image
  bool had_child_signal = false;  // a SIGCHLD that pended at the checkpoint
};

StoppedChildren stopped_children_of(const snapshot::Computation& image,
                                    const snapshot::Process& parent);

}  // namespace torpor::restart
