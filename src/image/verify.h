// Is every byte of an image what was written?
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/progress.h"
#include "image/extents.h"
#include "image/image_reader.h"

namespace torpor::image {

enum class VerifyDepth {
  tables,      // manifest, sizes, extent tables, core headers and notes: what is quick
  everything,  // and all pages and contents
};

// Throws Error bad_image naming the file, the offset and, for pages, address and pid. Pages are
// read and checked by `workers` threads. Adds to progress.bytes_total and counts bytes_done; throws
// Cancelled.
void verify(const Image& image, base::Progress& progress, VerifyDepth depth, unsigned workers = 2);

// Of one process that has memory, core and table alone.
void verify_process(const Image& image, const snapshot::Process& process, base::Progress& progress,
                    VerifyDepth depth, unsigned workers = 2);

// For a restart that checks while it loads. `core` is the whole core file in memory, `extents` of
// the same process, whose bounds were checked by Image::extents. `name` is the core file's. Throws
// Error bad_image. May run in several threads on different parts of the table.
void verify_extents(std::span<const std::byte> core, std::span<const PageExtent> extents,
                    const std::string& name, std::int32_t pid);

// The same for one extent whose pages have been read into `pages` (extent.size() bytes).
void verify_extent(std::span<const std::byte> pages, const PageExtent& extent,
                   const std::string& name, std::int32_t pid);

}  // namespace torpor::image
