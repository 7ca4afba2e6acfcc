#include "process/guard_regions.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <array>

namespace torpor::process {
namespace {

// <linux/fs.h> of Debian 12 knows neither; the layout is that of Linux 6.7.
struct ScanArguments {
  std::uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
  std::uint64_t category_inverted, category_mask, category_anyof, return_mask;
};
struct Region {
  std::uint64_t start, end, categories;
};
constexpr std::uint64_t kGuard = 1 << 8;                        // PAGE_IS_GUARD
constexpr unsigned long kScan = _IOWR('f', 16, ScanArguments);  // PAGEMAP_SCAN

}  // namespace

std::vector<base::PageRun> guard_regions(int pagemap_fd, std::uint64_t start, std::uint64_t end) {
  std::vector<base::PageRun> found;
  std::array<Region, 64> regions{};
  while (start < end) {
    ScanArguments scan{};
    scan.size = sizeof(scan);
    scan.start = start;
    scan.end = end;
    scan.regions = reinterpret_cast<std::uint64_t>(regions.data());
    scan.region_count = regions.size();
    scan.category_mask = kGuard;
    scan.return_mask = kGuard;
    const int count = ::ioctl(pagemap_fd, kScan, &scan);
    if (count < 0) return found;
    for (int i = 0; i < count; ++i) {
      const Region& region = regions[static_cast<std::size_t>(i)];
      found.push_back({region.start, region.end});
    }
    if (scan.walk_end <= start) break;
    start = scan.walk_end;
  }
  return found;
}

}  // namespace torpor::process
