// The copy-on-write copy of a process's memory: it is written while the program runs on.
#pragma once

#include <sys/types.h>

#include "base/unique_fd.h"
#include "process/held_process.h"

namespace torpor::checkpoint {

class FrozenCopy {
 public:
  // Makes one of a held process. Throws Error io when the kernel has no memory or no process left
  // for it (ENOMEM, EAGAIN). `tree_reaper`: whose children all belong to the computation, or 0.
  FrozenCopy(process::HeldProcess& held, pid_t tree_reaper);
  FrozenCopy(FrozenCopy&&) = default;
  FrozenCopy& operator=(FrozenCopy&&) = delete;
  // Ends it. It is our child, or that of the reaper of its namespace.
  ~FrozenCopy();

  [[nodiscard]] pid_t pid() const { return pid_; }  // in our own pid namespace
  // Somebody else has ended it.
  [[nodiscard]] bool has_ended() const;

 private:
  base::UniqueFd control_;  // it lives as long as this is open
  pid_t pid_ = 0;
  pid_t tree_reaper_;
};

// A process of the program that is a child subreaper would be given the frozen copies, which are
// orphans, and see them end. As long as this lives it is none.
class PausedSubreaper {
 public:
  explicit PausedSubreaper(process::AgentClient& agent);
  PausedSubreaper(const PausedSubreaper&) = delete;
  PausedSubreaper& operator=(const PausedSubreaper&) = delete;
  ~PausedSubreaper();

 private:
  process::AgentClient& agent_;
};

}  // namespace torpor::checkpoint
