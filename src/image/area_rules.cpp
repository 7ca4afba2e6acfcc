#include "image/area_rules.h"

#include <algorithm>

namespace torpor::image {

using snapshot::Area;

bool belongs_into_core(const Area& area) {
  switch (area.kind()) {
    case Area::ANONYMOUS:
    case Area::DEVICE:
    case Area::FILE:
    case Area::SAVED_FILE:
    case Area::SHARED_MEMORY: return !area.shared();
    default: return false;
  }
}

bool is_file_backed(const Area& area) {
  return area.kind() == Area::FILE || area.kind() == Area::SAVED_FILE ||
         area.kind() == Area::SHARED_MEMORY;
}

std::vector<base::PageRun> guards_of(const Area& area) {
  std::vector<base::PageRun> guards;
  guards.reserve(static_cast<std::size_t>(area.guards_size()));
  for (const snapshot::PageRange& range : area.guards()) {
    guards.push_back({range.start(), range.end()});
  }
  std::ranges::sort(guards, {}, &base::PageRun::start);
  return guards;
}

}  // namespace torpor::image
