#include "agent/blob.h"

#include <elf.h>

#include <cstring>

#include "agent/agent_abi.h"

extern "C" const std::byte torpor_agent_elf[];
extern "C" const std::byte torpor_agent_elf_end[];
extern "C" const std::byte torpor_resident_elf[];
extern "C" const std::byte torpor_resident_elf_end[];

namespace torpor::agent {

std::span<const std::byte> agent_program() { return {torpor_agent_elf, torpor_agent_elf_end}; }

std::span<const std::byte> resident_program() {
  return {torpor_resident_elf, torpor_resident_elf_end};
}

std::span<const std::byte> agent_blob() {
  Elf64_Ehdr header{};
  std::memcpy(&header, torpor_agent_elf, sizeof(header));
  Elf64_Phdr segment{};
  std::memcpy(&segment, torpor_agent_elf + header.e_phoff, sizeof(segment));
  return {torpor_agent_elf + segment.p_offset, segment.p_filesz};
}

BlobHeader blob_header() {
  BlobHeader header{};
  std::memcpy(&header, agent_blob().data(), sizeof(header));
  return header;
}

}  // namespace torpor::agent
