#include "image/core_elf.h"

#include <elf.h>
#include <gtest/gtest.h>

#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::page_size;
using snapshot::Area;

PageExtent extent(std::uint64_t vaddr, std::uint64_t file_page, std::uint32_t pages = 1) {
  return {vaddr, file_page * page_size, pages, 0, 0};
}

template <typename T>
T read(std::span<const std::byte> bytes, std::uint64_t offset) {
  T value{};
  EXPECT_LE(offset + sizeof(T), bytes.size());
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

TEST(Segments, NeighboursInMemoryAndFileBecomeOne) {
  snapshot::Process process;
  testing::add_area(process, 0x10000, 0x20000, Area::FILE);
  const auto segments = segments_of(process, std::vector{extent(0x10000, 1, 2), extent(0x12000, 3),
                                                         extent(0x13000, 9), extent(0x15000, 10)});
  ASSERT_EQ(segments.size(), 3U);
  EXPECT_EQ(segments[0].vaddr, 0x10000U);
  EXPECT_EQ(segments[0].file_size, 3 * page_size);
  EXPECT_EQ(segments[1].offset, 9 * page_size);
  EXPECT_EQ(segments[2].vaddr, 0x15000U);
  // What a file mapping does not have of its own is in the file: no zeros must be made up.
  for (const Segment& segment : segments) EXPECT_EQ(segment.file_size, segment.memory_size);
}

TEST(Segments, AnonymousAreasAreCoveredWhole) {
  snapshot::Process process;
  testing::add_area(process, 0x10000, 0x20000);
  testing::add_area(process, 0x20000, 0x30000);  // without a page
  const auto segments =
      segments_of(process, std::vector{extent(0x12000, 1), extent(0x14000, 2, 2)});
  std::uint64_t at = 0x10000;
  std::uint64_t stored = 0;
  for (const Segment& segment : segments) {
    EXPECT_EQ(segment.vaddr, at);
    at += segment.memory_size;
    stored += segment.file_size;
  }
  EXPECT_EQ(at, 0x30000U);
  EXPECT_EQ(stored, 3 * page_size);
  EXPECT_EQ(segments.size(), 4U);  // zeros, page and zeros, pages and zeros, the other area
}

TEST(Segments, DoNotJoinAcrossAreas) {
  snapshot::Process process;
  testing::add_area(process, 0x10000, 0x11000)->set_protection(PROT_READ);
  testing::add_area(process, 0x11000, 0x12000)->set_protection(PROT_READ | PROT_EXEC);
  const auto segments = segments_of(process, std::vector{extent(0x10000, 1), extent(0x11000, 2)});
  ASSERT_EQ(segments.size(), 2U);
  EXPECT_EQ(segments[0].protection, static_cast<std::uint32_t>(PROT_READ));
  EXPECT_EQ(segments[1].protection, static_cast<std::uint32_t>(PROT_READ | PROT_EXEC));
}

TEST(Segments, OnlyOfAreasThatBelongIntoTheCore) {
  snapshot::Process process;
  testing::add_area(process, 0x10000, 0x11000)->set_shared(true);
  testing::add_area(process, 0x11000, 0x12000, Area::VVAR);
  EXPECT_TRUE(segments_of(process, {}).empty());
}

TEST(Trailer, HeaderPointsToNotesAndSegments) {
  const std::uint64_t at = 7 * page_size;
  const std::vector<std::byte> notes(52, std::byte{'n'});
  const std::vector<Segment> segments = {
      {0x10000, page_size, page_size, 2 * page_size, PROT_READ | PROT_WRITE}};
  const Trailer trailer = make_trailer({}, segments, notes, at);

  const auto elf = read<Elf64_Ehdr>(trailer.first_page, 0);
  EXPECT_EQ(elf.e_type, ET_CORE);
  ASSERT_EQ(elf.e_phnum, 2U);
  const auto note = read<Elf64_Phdr>(trailer.bytes, elf.e_phoff - at);
  EXPECT_EQ(note.p_type, static_cast<Elf64_Word>(PT_NOTE));
  EXPECT_EQ(note.p_filesz, 52U);
  EXPECT_EQ(read<char>(trailer.bytes, note.p_offset - at), 'n');
  const auto load = read<Elf64_Phdr>(trailer.bytes, elf.e_phoff - at + sizeof(note));
  EXPECT_EQ(load.p_type, static_cast<Elf64_Word>(PT_LOAD));
  EXPECT_EQ(load.p_flags, static_cast<Elf64_Word>(PF_R | PF_W));
  EXPECT_EQ(load.p_vaddr, 0x10000U);
  EXPECT_EQ(load.p_memsz, 2 * page_size);
}

TEST(Trailer, HoldsTheVdso) {
  snapshot::Process process;
  process.mutable_layout()->set_vdso(0x7ffff7fc1000);
  process.mutable_layout()->set_vdso_content(std::string(2 * page_size, 'v'));
  const std::uint64_t at = 3 * page_size;
  const Trailer trailer = make_trailer(process, {}, {}, at);
  const auto elf = read<Elf64_Ehdr>(trailer.first_page, 0);
  ASSERT_EQ(elf.e_phnum, 2U);
  const auto load = read<Elf64_Phdr>(trailer.bytes, elf.e_phoff - at + sizeof(Elf64_Phdr));
  EXPECT_EQ(load.p_vaddr, 0x7ffff7fc1000U);
  EXPECT_EQ(load.p_offset % page_size, 0U);
  EXPECT_EQ(load.p_filesz, 2 * page_size);
  EXPECT_EQ(read<char>(trailer.bytes, load.p_offset - at + load.p_filesz - 1), 'v');
}

// elf(5): below PN_XNUM program headers the number stands in e_phnum, from there on elsewhere.
TEST(Trailer, ManySegments) {
  for (const std::uint64_t count : {0xfffd, 0xfffe, 0x12345}) {  // and one of the notes
    std::vector<Segment> segments;
    for (std::uint64_t i = 0; i < count; ++i) {
      segments.push_back({i * 2 * page_size, page_size, page_size, page_size, PROT_READ});
    }
    const Trailer trailer = make_trailer({}, segments, {}, page_size);
    const auto elf = read<Elf64_Ehdr>(trailer.first_page, 0);
    const std::uint64_t headers = count + 1;
    if (headers < PN_XNUM) {
      EXPECT_EQ(elf.e_phnum, headers);
      EXPECT_EQ(elf.e_shnum, 0U);
    } else {
      EXPECT_EQ(elf.e_phnum, PN_XNUM);
      ASSERT_EQ(elf.e_shnum, 1U);
      EXPECT_EQ(read<Elf64_Shdr>(trailer.bytes, elf.e_shoff - page_size).sh_info, headers);
    }
    const std::uint64_t last = elf.e_phoff - page_size + count * sizeof(Elf64_Phdr);
    EXPECT_EQ(read<Elf64_Phdr>(trailer.bytes, last).p_vaddr, (count - 1) * 2 * page_size);
  }
}

}  // namespace
}  // namespace torpor::image
