// Guard regions (MADV_GUARD_INSTALL, Linux 6.13) of a process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/page_source.h"

namespace torpor::process {

// Those of [start, end), sorted. None on kernels that cannot tell (PAGE_IS_GUARD is Linux 6.15).
std::vector<base::PageRun> guard_regions(int pagemap_fd, std::uint64_t start, std::uint64_t end);

}  // namespace torpor::process
