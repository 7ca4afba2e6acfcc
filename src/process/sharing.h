// The order of kernel objects that tasks may have in common: kcmp(2), for searching among many.
#pragma once

#include <sys/types.h>

#include <optional>

namespace torpor::process {

enum class Shareable { memory, descriptors, directories, actions };

// The order of what two tasks (processes, or threads by their tid) have, in the kernel's own
// arbitrary but constant order: 0 the same object. nullopt when one of them is gone. Throws
// Error permission, or host_lacks (no CONFIG_KCMP). Tasks that are exiting have none of these any
// more, and all the same none.
std::optional<int> compare_shareable(Shareable what, pid_t a, pid_t b);

}  // namespace torpor::process
