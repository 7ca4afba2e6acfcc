// Which pages of a process are to be looked at, in pieces for several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/page_source.h"
#include "proto/snapshot.pb.h"

namespace torpor::image {

// Runs of one source, at most 1 MiB together: what one thread reads and writes in one go. Small
// areas share a chunk, for a process has hundreds of them.
struct Chunk {
  base::PageSource* source = nullptr;
  std::size_t first_run = 0;  // in CorePlan.runs
  std::size_t run_count = 0;
  std::uint64_t bytes = 0;
};

struct CorePlan {
  std::vector<base::PageRun> runs;  // sorted, none longer than a chunk, none over two areas
  std::vector<bool> keep_zeros;     // of each run: absence would mean the file's content
  std::vector<Chunk> chunks;
  std::uint64_t bytes = 0;

  [[nodiscard]] std::span<const base::PageRun> runs_of(const Chunk& chunk) const {
    return std::span(runs).subspan(chunk.first_run, chunk.run_count);
  }
};

using SourceOfArea = std::function<base::PageSource&(const snapshot::Area&)>;

// Throws Error internal when areas are not sorted or not page-aligned, or the source names pages
// outside of the area.
CorePlan plan_core(const snapshot::Process& process, const SourceOfArea& source_of);

// What is left of `runs` without `holes`; both sorted.
std::vector<base::PageRun> without(std::span<const base::PageRun> runs,
                                   std::span<const base::PageRun> holes);

}  // namespace torpor::image
