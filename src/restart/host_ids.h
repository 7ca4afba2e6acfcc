// Whether an image's ids can be had on this host itself, without a pid namespace.
#pragma once

#include <sys/types.h>

#include <optional>

#include "proto/snapshot.pb.h"

namespace torpor::restart {

// clone3(2) with set_tid: CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE (Linux 5.9).
bool may_choose_ids();

// Of the ids that the image's processes, threads, sessions and groups need, and the parent of its
// first process: one that somebody has at this moment.
std::optional<pid_t> find_taken_id(const snapshot::Computation& model);

}  // namespace torpor::restart
