// A computation that is taken over from a supervisor that is gone.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>

#include "wrapped/computation.h"
#include "wrapped/id_table_file.h"

namespace torpor::wrapped {

struct Adopted {
  Computation computation;
  std::unique_ptr<IdTableFile> ids;  // null if it has no pid table
};

// That of a running process; nothing if the process has no resident agent. Throws Error permission
// where its memory cannot be read, system where its pid table is gone.
std::optional<Adopted> computation_of(pid_t pid);

}  // namespace torpor::wrapped
