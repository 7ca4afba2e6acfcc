// Memory that several mappings, processes or descriptors share: memfds, shared anonymous memory,
// deleted files that are mapped shared. One record each, known by its (device, inode).
#pragma once

#include <cstdint>
#include <string>

#include "base/page_source.h"
#include "base/unique_fd.h"
#include "resource/file_kind.h"

namespace torpor::resource {

// The id of the record, made if it is new; its size grows to `size`. `name` is that of the memfd.
std::uint64_t shared_memory_id(CaptureState& state, std::uint64_t device, std::uint64_t inode,
                               const std::string& name, bool is_memfd, std::uint64_t size);

// Copies what no descriptor gave us (no entry in state.contents) through the mappings, into private
// memfds, and adds them to state.contents. Everything must be stopped.
void copy_mapped_shared_memories(CaptureState& state);

// A memfd of the record's size, not filled. Throws Error io.
base::UniqueFd make_shared_memory(const snapshot::SharedMemory& memory);

}  // namespace torpor::resource
