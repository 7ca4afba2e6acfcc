// Processes below ours that are not part of the program.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace torpor::supervisor {

// Known by their pid and start time: a number that one of them had may later be the program's.
class Strangers {
 public:
  // Those that have ended already are left out. Throws Error.
  void add(std::span<const pid_t> pids);

  // The pids of those that are still there, zombies included.
  [[nodiscard]] std::vector<pid_t> present() const;

 private:
  std::vector<std::pair<pid_t, std::uint64_t>> known_;  // pid, start time
};

}  // namespace torpor::supervisor
