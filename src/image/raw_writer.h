// Content files: the bytes of a shared memory or of a deleted file, as a sparse file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/page_source.h"
#include "base/progress.h"
#include "image/written_file.h"
#include "proto/snapshot.pb.h"

namespace torpor::image {

// "shared-<id>.mem" and "saved-<id>.bin".
std::string shared_memory_name(std::uint64_t id);
std::string saved_file_name(std::uint64_t id);

struct ContentFile {
  WrittenFile file;
  std::vector<snapshot::Extent> extents;  // sorted; at most 1 MiB each; all else is zeros
};

// Of the first `size` bytes of `source_fd` (readable). Its position is not touched, for it may be
// the program's own description: holes are looked for through a second one, opened by
// /proc/self/fd, and if that cannot be had everything is read. Throws Error io, Cancelled.
ContentFile write_content(int source_fd, std::uint64_t size, int directory_fd,
                          const std::string& name, base::Progress& progress,
                          const WriteOptions& options = {});

// Of the memory [start, start + size) of `source`; offset 0 of the file is `start`, and all is
// page-aligned. `runs`: the pages that may have content, sorted; without it, what the source names.
//
// Careful with shared memory: the page table of one process does not know all pages that exist
// (those that others touched, or that were swapped out), and reading those that do not exist makes
// them.
ContentFile write_content(base::PageSource& source, std::uint64_t start, std::uint64_t size,
                          int directory_fd, const std::string& name, base::Progress& progress,
                          const WriteOptions& options = {});
ContentFile write_content(base::PageSource& source, std::uint64_t start, std::uint64_t size,
                          std::span<const base::PageRun> runs, int directory_fd,
                          const std::string& name, base::Progress& progress,
                          const WriteOptions& options = {});

}  // namespace torpor::image
