// Empties the first husk, so that nothing but the agent, in the hole, is left in its address space.
// Every further husk is a copy of it.
#pragma once

#include <cstdint>
#include <vector>

#include "process/agent_client.h"
#include "restart/hole.h"

namespace torpor::restart {

// The vdso and its data areas, kept in the hole until each process puts them where it had them.
struct ParkedArea {
  std::string path;         // "[vdso]", "[vvar]", "[vvar_vclock]"
  std::uint64_t start = 0;  // where it is parked
  std::uint64_t size = 0;
};

// Afterwards `agent` serves from the hole. Throws Error.
std::vector<ParkedArea> move_into_hole(process::AgentClient& agent, const Hole& hole);

}  // namespace torpor::restart
