#include "image/extents.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/page_source.h"
#include "image/checksum.h"
#include "image/file_io.h"

namespace torpor::image {

using base::page_size;

static_assert(std::endian::native == std::endian::little, "records are written as they lie here");

namespace {

constexpr std::array<char, 8> magic = {'T', 'O', 'R', 'P', 'E', 'X', 'T', '\n'};
constexpr std::uint32_t version = 1;

struct Header {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t record_size;
  std::uint64_t count;
  std::uint64_t header_checksum;  // of the core's first page
  std::uint64_t checksum;         // of all above and of all records
};
static_assert(sizeof(Header) == 40);

std::span<const std::byte> checked_part(const Header& header) {
  return std::as_bytes(std::span(&header, 1)).first(sizeof(Header) - sizeof(header.checksum));
}

std::uint64_t checksum_of(const Header& header, std::span<const std::byte> records) {
  Hasher hasher;
  hasher.add(checked_part(header));
  hasher.add(records);
  return hasher.value();
}

// Checks everything but the checksum, so that what is wrong can be said more precisely.
void check_header(const Header& header, std::uint64_t table_size, const std::string& name) {
  if (header.magic != magic) throw_bad_image(name, "not a table of extents");
  if (header.version > version) {
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("{}: has format version {}, this torpor knows versions up to {}",
                                  name, header.version, version),
                      "use a newer torpor");
  }
  if (header.version != version || header.record_size != sizeof(PageExtent)) {
    throw_bad_image(name, "damaged: impossible version or size of records");
  }
  if (header.count != table_size / sizeof(PageExtent) || table_size % sizeof(PageExtent) != 0) {
    throw_bad_image(name, fmt::format("truncated or damaged: {} extents are said to be in {} bytes",
                                      header.count, table_size));
  }
}

void check_extent(const PageExtent& extent, std::uint64_t data_end, const std::string& name) {
  const bool whole_pages = (extent.vaddr | extent.file_offset) % page_size == 0;
  const bool right_length = extent.pages >= 1 && extent.pages <= max_extent_pages;
  const bool in_file = extent.file_offset >= page_size && extent.file_offset <= data_end &&
                       extent.size() <= data_end - extent.file_offset;
  if (!whole_pages || !right_length || !in_file || extent.flags != 0 ||
      extent.end() < extent.vaddr) {
    throw_bad_image(name, fmt::format("the extent of address {:#x} is impossible", extent.vaddr));
  }
}

void check_order(std::span<const PageExtent> extents, const std::string& name) {
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].vaddr < extents[i - 1].end()) {
      throw_bad_image(name, fmt::format("the extents of addresses {:#x} and {:#x} overlap or are "
                                        "not in order",
                                        extents[i - 1].vaddr, extents[i].vaddr));
    }
  }
}

// Every byte of the pages must be under exactly one checksum.
void check_cover(std::vector<PageExtent> extents, std::uint64_t data_end, const std::string& name) {
  std::ranges::sort(extents, {}, &PageExtent::file_offset);
  std::uint64_t covered = page_size;
  for (const PageExtent& extent : extents) {
    if (extent.file_offset != covered) break;
    covered += extent.size();
  }
  if (covered != data_end) {
    throw_bad_image(name,
                    fmt::format("the extents do not cover the core file once from {} on", covered));
  }
}

}  // namespace

std::vector<std::byte> encode_extents(const ExtentTable& table) {
  const auto records = std::as_bytes(std::span(table.extents));
  Header header{magic, version, sizeof(PageExtent), table.extents.size(), table.header_checksum, 0};
  header.checksum = checksum_of(header, records);
  std::vector<std::byte> bytes(sizeof(header) + records.size());
  std::memcpy(bytes.data(), &header, sizeof(header));
  if (!records.empty()) std::memcpy(bytes.data() + sizeof(header), records.data(), records.size());
  return bytes;
}

ExtentTable decode_extents(std::span<const std::byte> bytes, std::uint64_t data_end,
                           const std::string& name) {
  Header header{};
  if (bytes.size() < sizeof(header)) throw_bad_image(name, "truncated: no room for the header");
  std::memcpy(&header, bytes.data(), sizeof(header));
  const auto records = bytes.subspan(sizeof(header));
  check_header(header, records.size(), name);
  if (checksum_of(header, records) != header.checksum) {
    throw_bad_image(name, "damaged: its checksum does not fit");
  }

  ExtentTable table;
  table.header_checksum = header.header_checksum;
  table.extents.resize(header.count);
  if (!records.empty()) std::memcpy(table.extents.data(), records.data(), records.size());
  for (const PageExtent& extent : table.extents) check_extent(extent, data_end, name);
  check_order(table.extents, name);
  check_cover(table.extents, data_end, name);
  return table;
}

}  // namespace torpor::image
