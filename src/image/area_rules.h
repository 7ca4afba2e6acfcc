// What of an area is stored where.
#pragma once

#include <vector>

#include "base/page_source.h"
#include "proto/snapshot.pb.h"

namespace torpor::image {

// Whether the pages of `area` belong into the core: every private area but those of the kernel
// (vdso, vvar). What is shared lies in the files or in content files.
bool belongs_into_core(const snapshot::Area& area);

// Whether an absent page of a private area means "as in the file" instead of zeros.
bool is_file_backed(const snapshot::Area& area);

// Area.guards, sorted.
std::vector<base::PageRun> guards_of(const snapshot::Area& area);

}  // namespace torpor::image
