// Writes the memory of one process as a valid ELF core, and the table of its extents.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/page_source.h"
#include "base/progress.h"
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

// Whether the pages of `area` belong into the core: every private area but those of the kernel
// (vdso, vvar). What is shared lies in the files or in content files.
bool belongs_into_core(const snapshot::Area& area);

// Whether an absent page of a private area means "as in the file" instead of zeros.
bool is_file_backed(const snapshot::Area& area);

// From where the pages of an area are read. Called once per area, from the calling thread.
using SourceOfArea = std::function<base::PageSource&(const snapshot::Area&)>;

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
