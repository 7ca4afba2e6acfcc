// Deleted files that are still open: nothing but the image has their content.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_saved_file_kind();

// The id of the record of a deleted file, made if it is new. `path`: where it was. The content is
// up to the caller.
std::uint64_t saved_file_id(CaptureState& state, const struct ::stat& status,
                            const std::string& path);

}  // namespace torpor::resource
