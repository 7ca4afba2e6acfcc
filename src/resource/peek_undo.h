// Sees to it that a look into a socket's queue leaves nothing behind even if we are killed (I1).
#pragma once

#include "process/agent_client.h"

namespace torpor::resource {

// SO_PEEK_OFF belongs to the socket, which the program shares. While this object lives the agent
// sets it back to -1 on descriptor `fd` of its process, should it lose us. It takes the agent's
// list of calls for that case (agent::kSetUndo) for itself, and leaves it empty.
class PeekUndo {
 public:
  // Throws Error. Null (an own descriptor, a test): nothing is done.
  PeekUndo(process::AgentClient* agent, int fd);
  PeekUndo(const PeekUndo&) = delete;
  PeekUndo& operator=(const PeekUndo&) = delete;
  ~PeekUndo();

 private:
  process::AgentClient* agent_;
};

}  // namespace torpor::resource
