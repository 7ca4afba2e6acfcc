// Starts the program that is to be supervised.
#pragma once

#include <sys/types.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "supervisor/signals.h"
#include "wrapped/computation.h"

namespace torpor::supervisor {

// The program could not be run. The exit status is the one that a shell would give: 127 when it was
// not found, else 126.
class ExecFailure : public base::Error {
 public:
  ExecFailure(int error, const std::string& program);
  [[nodiscard]] int exit_status() const { return status_; }

 private:
  int status_;
};

struct SpawnRequest {
  std::vector<std::string> command;  // at least the program, which is looked for in PATH
  std::array<int, 3> streams{0, 1, 2};
  // With a resident agent from its first instruction on.
  std::optional<wrapped::Computation> wrapped{};
  int terminal = -1;  // becomes the controlling terminal of its session, or -1
};

// Starts it as our child, leader of a session and process group of its own. Other descriptors that
// are not close-on-exec go along. Returns when it has been exec'ed; throws ExecFailure.
pid_t spawn(const SpawnRequest& request, const Signals& signals);

}  // namespace torpor::supervisor
