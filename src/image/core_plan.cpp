#include "image/core_plan.h"

#include <algorithm>

#include "base/error.h"
#include "image/area_rules.h"
#include "image/extents.h"

namespace torpor::image {

using base::PageRun;

namespace {

constexpr std::uint64_t chunk_size = max_extent_pages * base::page_size;

[[noreturn]] void bug(std::int32_t pid, std::uint64_t address, std::string_view what) {
  throw base::Error(base::ErrorCode::internal,
                    fmt::format("memory of process {} at {:#x}: {}", pid, address, what));
}

void check_area(std::int32_t pid, const snapshot::Area& area, std::uint64_t previous_end) {
  if ((area.start() | area.end()) % base::page_size != 0)
    bug(pid, area.start(), "not page-aligned");
  if (area.start() < previous_end || area.end() <= area.start()) {
    bug(pid, area.start(), "areas are not in order");
  }
}

void check_runs(std::int32_t pid, const snapshot::Area& area, std::span<const PageRun> runs) {
  std::uint64_t previous_end = area.start();
  for (const PageRun& run : runs) {
    const bool in_order = run.start >= previous_end && run.end > run.start && run.end <= area.end();
    if (!in_order || (run.start | run.end) % base::page_size != 0) {
      bug(pid, run.start, "a page source named pages out of order or outside of the area");
    }
    previous_end = run.end;
  }
}

class Planner {
 public:
  void add(base::PageSource& source, PageRun run, bool keep_zeros) {
    while (run.start < run.end) {
      Chunk& chunk = chunk_with_room(source);
      const PageRun piece{run.start, std::min(run.end, run.start + chunk_size - chunk.bytes)};
      plan_.runs.push_back(piece);
      plan_.keep_zeros.push_back(keep_zeros);
      ++chunk.run_count;
      chunk.bytes += piece.size();
      plan_.bytes += piece.size();
      run.start = piece.end;
    }
  }

  CorePlan take() { return std::move(plan_); }

 private:
  Chunk& chunk_with_room(base::PageSource& source) {
    const bool begin = plan_.chunks.empty() || plan_.chunks.back().source != &source ||
                       plan_.chunks.back().bytes == chunk_size;
    if (begin) plan_.chunks.push_back({&source, plan_.runs.size(), 0, 0});
    return plan_.chunks.back();
  }

  CorePlan plan_;
};

}  // namespace

std::vector<PageRun> without(std::span<const PageRun> runs, std::span<const PageRun> holes) {
  std::vector<PageRun> left;
  auto hole = holes.begin();
  for (PageRun run : runs) {
    while (hole != holes.end() && hole->end <= run.start) ++hole;
    for (auto next = hole; next != holes.end() && next->start < run.end; ++next) {
      if (next->start > run.start) left.push_back({run.start, next->start});
      run.start = std::max(run.start, std::min(run.end, next->end));
    }
    if (run.start < run.end) left.push_back(run);
  }
  return left;
}

CorePlan plan_core(const snapshot::Process& process, const SourceOfArea& source_of) {
  Planner planner;
  std::uint64_t previous_end = 0;
  for (const snapshot::Area& area : process.areas()) {
    check_area(process.pid(), area, previous_end);
    previous_end = area.end();
    if (!belongs_into_core(area)) continue;
    base::PageSource& source = source_of(area);
    const bool file_backed = is_file_backed(area);
    const auto existing = source.existing_pages(area.start(), area.end(), file_backed);
    check_runs(process.pid(), area, existing);
    for (const PageRun& run : without(existing, guards_of(area))) {
      planner.add(source, run, file_backed);
    }
  }
  return planner.take();
}

}  // namespace torpor::image
