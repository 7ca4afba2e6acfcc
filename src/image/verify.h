// Is every byte of an image what was written?
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/progress.h"
#include "image/extents.h"
#include "image/image_reader.h"

namespace torpor::image {

enum class VerifyDepth {
  tables,      // manifest, sizes, extent tables, core headers and notes: what is quick
  contents,    // and shared memory and saved files, but not the pages of processes
  everything,  // and all pages
};

// Throws Error bad_image naming the file, the offset and, for pages, address and pid. Pages are
// read and checked by `workers` threads. Adds to progress.bytes_total and counts bytes_done; throws
// Cancelled.
void verify(const Image& image, base::Progress& progress, VerifyDepth depth, unsigned workers = 2);

// Of one process that has memory, core and table alone.
void verify_process(const Image& image, const snapshot::Process& process, base::Progress& progress,
                    VerifyDepth depth, unsigned workers = 2);

// Some extents that lie behind each other in the core file, and their pages.
struct PageBatch {
  std::span<const PageExtent> extents;
  std::span<const std::byte> bytes;
};
using UsePages = std::function<void(const PageBatch&)>;

// For a restart that checks while it loads: reads these pages of one process (Image::extents),
// checks each extent, and then lets it be used. `use` is called by several threads, in any order,
// with at most 1 MiB. Throws what verify() does, and what `use` does.
void read_pages(const Image& image, const snapshot::Process& process,
                std::vector<PageExtent> extents, base::Progress& progress, unsigned workers,
                const UsePages& use);

}  // namespace torpor::image
