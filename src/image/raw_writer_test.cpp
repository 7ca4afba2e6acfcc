#include "image/raw_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "image/checksum.h"
#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::page_size;
using base::Progress;
using testing::FakePages;
using testing::TempDirectory;

// Offset and size of each extent, whose checksums have been compared with the file.
std::vector<std::pair<std::uint64_t, std::uint64_t>> places(const ContentFile& content,
                                                            const std::string& file) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> found;
  for (const snapshot::Extent& extent : content.extents) {
    found.emplace_back(extent.offset(), extent.size());
    EXPECT_EQ(checksum(testing::bytes_of(file).subspan(extent.offset(), extent.size())),
              extent.checksum());
  }
  return found;
}

using Places = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

base::UniqueFd memfd(const std::string& content, std::uint64_t size) {
  base::UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  write_all(fd.get(), 0, testing::bytes_of(content));
  return fd;
}

TEST(RawWriter, FileOfAnOddLength) {
  const TempDirectory directory;
  Progress progress;
  for (const std::uint64_t size : {1UL, 4095UL, 4096UL, 4097UL, 3000000UL}) {
    const std::string content(size, 'c');
    const std::string name = saved_file_name(size);
    const ContentFile file =
        write_content(memfd(content, size).get(), size, directory.fd(), name, progress);
    EXPECT_EQ(testing::content_of(directory.path() / name), content);
    EXPECT_EQ(file.file.description.size(), size);
    EXPECT_EQ(file.file.description.checked_from(), size);
    std::uint64_t covered = 0;
    for (const auto& [offset, length] : places(file, content)) {
      EXPECT_EQ(offset, covered);
      covered += length;
    }
    EXPECT_EQ(covered, size);
  }
}

TEST(RawWriter, EmptyAndEmptySparse) {
  const TempDirectory directory;
  Progress progress;
  EXPECT_TRUE(
      write_content(memfd("", 0).get(), 0, directory.fd(), "none", progress).extents.empty());
  const std::uint64_t size = std::uint64_t{1} << 40U;  // would take hours if it were read
  const ContentFile sparse =
      write_content(memfd("", size).get(), size, directory.fd(), "sparse", progress);
  EXPECT_TRUE(sparse.extents.empty());
  EXPECT_EQ(std::filesystem::file_size(directory.path() / "sparse"), size);
}

TEST(RawWriter, HolesAndZerosStayHoles) {
  const TempDirectory directory;
  const std::uint64_t size = 600 * page_size;
  const base::UniqueFd source = memfd(std::string(page_size, 'a'), size);
  write_all(source.get(), 300 * page_size + 17, testing::bytes_of("in the middle"));
  write_all(source.get(), 400 * page_size, testing::bytes_of(std::string(page_size, '\0')));
  write_all(source.get(), size - 1, testing::bytes_of("z"));
  Progress progress;
  const ContentFile file = write_content(source.get(), size, directory.fd(), "c", progress);
  const std::string content = testing::content_of(directory.path() / "c");
  EXPECT_EQ(places(file, content),
            (Places{{0, page_size}, {300 * page_size, page_size}, {599 * page_size, page_size}}));
  std::string expected(size, '\0');
  read_exactly(source.get(), 0, std::as_writable_bytes(std::span(expected)), "source");
  EXPECT_EQ(content, expected);
  struct stat status {};
  ASSERT_EQ(::fstat(file.file.fd.get(), &status), 0);
  EXPECT_LE(status.st_blocks * 512, static_cast<blkcnt_t>(16 * page_size));
}

// The description may be the program's, shared with it.
TEST(RawWriter, PositionOfTheSourceStays) {
  const TempDirectory directory;
  const base::UniqueFd source = memfd(std::string(10000, 'p'), 10000);
  ASSERT_EQ(::lseek(source.get(), 1234, SEEK_SET), 1234);
  Progress progress;
  write_content(source.get(), 10000, directory.fd(), "c", progress);
  EXPECT_EQ(::lseek(source.get(), 0, SEEK_CUR), 1234);
}

TEST(RawWriter, SourceThatShrinksIsAnError) {
  const TempDirectory directory;
  const base::UniqueFd source = memfd(std::string(10000, 'p'), 10000);
  Progress progress;
  EXPECT_EQ(
      testing::error_of([&] { write_content(source.get(), 10100, directory.fd(), "c", progress); }),
      base::ErrorCode::io);
}

TEST(RawWriter, MemoryOfAProcess) {
  const TempDirectory directory;
  FakePages pages;
  pages.put_patterns(0x10000, 1);
  pages.put_zeros(0x11000, 1);
  pages.put_patterns(0x13000, 300);
  const std::uint64_t size = 400 * page_size;
  Progress progress;
  const ContentFile file =
      write_content(pages, 0x10000, size, directory.fd(), shared_memory_name(3), progress);
  const std::string content = testing::content_of(directory.path() / "shared-3.mem");
  std::string expected(size, '\0');
  for (const auto& [address, page] : pages.pages()) {
    std::memcpy(expected.data() + (address - 0x10000), page.data(), page_size);
  }
  EXPECT_EQ(content, expected);
  EXPECT_EQ(places(file, content), (Places{{0, page_size},
                                           {3 * page_size, 256 * page_size},
                                           {259 * page_size, 44 * page_size}}));
}

TEST(RawWriter, OnlyTheRunsThatAreNamed) {
  const TempDirectory directory;
  FakePages pages;
  pages.put_patterns(0x10000, 4);
  Progress progress;
  const std::vector<base::PageRun> runs = {{0x11000, 0x12000}, {0x13000, 0x14000}};
  const ContentFile file =
      write_content(pages, 0x10000, 4 * page_size, runs, directory.fd(), "c", progress);
  EXPECT_EQ(places(file, testing::content_of(directory.path() / "c")),
            (Places{{page_size, page_size}, {3 * page_size, page_size}}));
}

TEST(RawWriter, CancelAndFailingWrite) {
  const TempDirectory directory;
  const base::UniqueFd source = memfd(std::string(10000, 'p'), 10000);
  Progress cancelled;
  cancelled.cancelled = true;
  EXPECT_THROW(write_content(source.get(), 10000, directory.fd(), "c", cancelled), base::Cancelled);
  Progress progress;
  WriteOptions options;
  options.fault = [](std::uint64_t, std::size_t) { return EDQUOT; };
  EXPECT_EQ(testing::error_of([&] {
              write_content(source.get(), 10000, directory.fd(), "d", progress, options);
            }),
            base::ErrorCode::io);
}

}  // namespace
}  // namespace torpor::image
