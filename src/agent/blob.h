// The agent's program as it is carried inside of torpor.
#pragma once

#include <cstddef>
#include <span>

#include "agent/agent_abi.h"

namespace torpor::agent {

// The ELF file: executed, it is a husk.
std::span<const std::byte> agent_program();

// The ELF file of the resident agent (resident/resident_abi.h).
std::span<const std::byte> resident_program();

// The one segment of agent_program() from the BlobHeader on: copied into a process, it is the
// agent.
std::span<const std::byte> agent_blob();

// What stands at its start.
BlobHeader blob_header();

}  // namespace torpor::agent
