// Writes the memory of one process as a valid ELF core, and the table of its extents.
#pragma once

#include <cstdint>
#include <string>

#include "base/page_source.h"
#include "base/progress.h"
#include "image/area_rules.h"
#include "image/core_plan.h"
#include "image/written_file.h"
#include "proto/snapshot.pb.h"

namespace torpor::image {

// "<pid>.core" and "<pid>.extents": what to put into Process.memory_file and extents_file.
std::string core_name(std::int32_t pid);
std::string extents_name(std::int32_t pid);

struct CoreFile {
  WrittenFile core;
  WrittenFile extents;
  std::uint64_t pages = 0;  // that were stored
};

// Creates both files (0600) in the directory; they must not exist. Names: process.memory_file() and
// extents_file() where set, else core_name() and extents_name(). Areas must be sorted and
// page-aligned. Stores the pages that exist, without pages of zeros where absence means zeros; what
// Area.guards names is left out. Adds what it finds to progress.bytes_total; bytes_done counts the
// bytes that were looked at.
//
// Throws Error io naming the file (disk full, limit, fault), Cancelled, or what the source throws;
// the files are left for the ImageWriter to remove.
CoreFile write_core(const snapshot::Process& process, const SourceOfArea& source_of,
                    int directory_fd, base::Progress& progress, const WriteOptions& options = {});

// The same with one source for all areas.
CoreFile write_core(const snapshot::Process& process, base::PageSource& source, int directory_fd,
                    base::Progress& progress, const WriteOptions& options = {});

}  // namespace torpor::image
