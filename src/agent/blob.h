// The agent's program as it is carried inside of torpor.
#pragma once

#include <cstddef>
#include <span>

#include "agent/agent_abi.h"

namespace torpor::agent {

// The ELF file: executed, it is a husk.
std::span<const std::byte> agent_program();

// Its one segment from the BlobHeader on: copied into a process, it is the agent.
std::span<const std::byte> agent_blob();

// What stands at its start.
BlobHeader blob_header();

}  // namespace torpor::agent
