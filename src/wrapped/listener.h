// Where the checkpoint threads of a computation find their supervisor.
#pragma once

#include <map>
#include <optional>

#include "agent/agent_abi.h"
#include "base/unique_fd.h"
#include "wrapped/computation.h"

namespace torpor::wrapped {

// A checkpoint thread that has said hello.
struct Connection {
  base::UniqueFd socket;
  pid_t pid = 0;  // in our own pid namespace
  agent::Hello hello{};
};

class Listener {
 public:
  // Throws Error conflict when somebody listens there already.
  explicit Listener(const Computation& computation);

  [[nodiscard]] int fd() const { return socket_.get(); }
  // The connection of `pid`, waiting for it. Those of others that come first are kept for them.
  // Nothing if none has come in time.
  std::optional<Connection> await(pid_t pid, int milliseconds);
  // Those that nobody has waited for: closing them lets their processes go on.
  void forget() { waiting_.clear(); }

 private:
  void accept_one();

  base::UniqueFd socket_;
  std::multimap<pid_t, Connection> waiting_;
};

}  // namespace torpor::wrapped
