// Content that lies in the image: shared memories and deleted files.
#pragma once

#include "image/image_reader.h"
#include "resource/file_kind.h"

namespace torpor::resource {

// Fills state.shared_memories and state.saved_files. Checksums are checked. Throws Error.
void restore_contents(const image::Image& image, RestoreState& state);

}  // namespace torpor::resource
