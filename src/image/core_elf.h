// The ELF clothes of a core file: its first page, and what follows the pages. Pure functions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/page_source.h"
#include "image/extents.h"
#include "proto/snapshot.pb.h"

namespace torpor::image {

// One PT_LOAD. Memory beyond file_size reads as zeros.
struct Segment {
  std::uint64_t vaddr = 0;
  std::uint64_t offset = 0;
  std::uint64_t file_size = 0;
  std::uint64_t memory_size = 0;
  std::uint32_t protection = 0;  // PROT_*
};

// The segments of all areas whose pages belong into the core, from the sorted extents: as few as
// possible. In areas where absence means zeros, they cover the whole area.
std::vector<Segment> segments_of(const snapshot::Process& process,
                                 std::span<const PageExtent> extents);

// All that lies behind the pages: content of the vdso, notes, program headers, and section header 0
// where the number of program headers does not fit into the ELF header.
struct Trailer {
  std::vector<std::byte> bytes;
  std::array<std::byte, base::page_size> first_page{};  // the ELF header that points to it
};

// `at`: the page-aligned offset of the trailer in the file.
Trailer make_trailer(const snapshot::Process& process, std::vector<Segment> segments,
                     std::span<const std::byte> notes, std::uint64_t at);

}  // namespace torpor::image
