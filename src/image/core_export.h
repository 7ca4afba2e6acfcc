// Gives a process of an image out as a core file.
#pragma once

#include <cstdint>
#include <filesystem>

#include "image/image_reader.h"

namespace torpor::image {

// Writes the core of process `pid` to `to` (created 0600, must not exist), sharing blocks where the
// file system can (FICLONE), else copying. Checks every page on the way. Throws Error not_found if
// the image has no such process, refused if that process has no memory (zombie), bad_image, io.
void export_core(const Image& image, std::int32_t pid, const std::filesystem::path& to);

}  // namespace torpor::image
