// Brings the pages of a plan into a file, with several threads that each read, sift, check and
// write, so that reading the memory and writing to the disk overlap.
#pragma once

#include <vector>

#include "base/progress.h"
#include "image/core_plan.h"
#include "image/data_file.h"
#include "image/extents.h"

namespace torpor::image {

// Appends to `file` by claims. Returns the extents sorted by address. Throws what reading or
// writing throws, or Cancelled.
std::vector<PageExtent> store_pages(const CorePlan& plan, DataFile& file, unsigned workers,
                                    base::Progress& progress);

}  // namespace torpor::image
