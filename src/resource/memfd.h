// Descriptors of memory files (memfd_create(2)).
#pragma once

#include <memory>

#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_memfd_kind();

// The record of the memory behind the view, made or completed, with its content in state.contents.
// Also for deleted files that are mapped shared: then it is the same object for all who map it.
std::uint64_t capture_shared_memory(const FileView& view, CaptureState& state);

// A new description of a shared memory that stands in state.shared_memories. Throws Error bad_image
// if there is none.
base::UniqueFd open_shared_memory(const snapshot::OpenFile& file, RestoreState& state);

// Mode and seals, once for each memory, after all of it has been mapped.
void finish_shared_memory(std::uint64_t id, RestoreState& state);

}  // namespace torpor::resource
