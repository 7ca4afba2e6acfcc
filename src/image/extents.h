// The table that says where each page of a process lies in its core file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace torpor::image {

// Consecutive pages that lie consecutively in the core file too. It is also the record on disk
// (little-endian, packed).
struct PageExtent {
  std::uint64_t vaddr = 0;
  std::uint64_t file_offset = 0;
  std::uint32_t pages = 0;     // 1 to max_extent_pages
  std::uint32_t flags = 0;     // none is defined: 0
  std::uint64_t checksum = 0;  // XXH3-64 of the pages

  [[nodiscard]] std::uint64_t size() const { return std::uint64_t{pages} * 4096; }
  [[nodiscard]] std::uint64_t end() const { return vaddr + size(); }
  bool operator==(const PageExtent&) const = default;
};
static_assert(sizeof(PageExtent) == 32);

inline constexpr std::uint32_t max_extent_pages = 256;  // 1 MiB

struct ExtentTable {
  std::uint64_t header_checksum = 0;  // XXH3-64 of the core file's first page
  std::vector<PageExtent> extents;    // sorted by vaddr, not overlapping, none crosses an area
};

std::vector<std::byte> encode_extents(const ExtentTable& table);

// `data_end`: where the pages end in the core file (ImageFile.checked_from). The extents must cover
// [4096, data_end) of the file exactly. `name` is the table's file name, for errors. Throws Error
// bad_image.
ExtentTable decode_extents(std::span<const std::byte> bytes, std::uint64_t data_end,
                           const std::string& name);

}  // namespace torpor::image
