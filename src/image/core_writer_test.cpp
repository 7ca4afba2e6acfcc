#include "image/core_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "image/checksum.h"
#include "image/extents.h"
#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::page_size;
using base::Progress;
using testing::FakePages;
using testing::TempDirectory;

struct Written {
  snapshot::ImageFile core;
  std::string content;
  ExtentTable table;
};

Written write(const snapshot::Process& process, FakePages& pages, const TempDirectory& directory,
              const WriteOptions& options = {}) {
  Progress progress;
  const CoreFile file = write_core(process, pages, directory.fd(), progress, options);
  EXPECT_EQ(progress.bytes_done, progress.bytes_total);
  Written written{file.core.description, testing::content_of(directory.path() / "100.core"), {}};
  const std::string table = testing::content_of(directory.path() / "100.extents");
  written.table =
      decode_extents(testing::bytes_of(table), written.core.checked_from(), "100.extents");
  EXPECT_EQ(file.pages * page_size, written.core.checked_from() - page_size);
  EXPECT_EQ(file.extents.description.checksum(), checksum(testing::bytes_of(table)));
  EXPECT_EQ(file.extents.description.size(), table.size());
  return written;
}

std::map<std::uint64_t, testing::Page> stored_pages(const Written& written) {
  std::map<std::uint64_t, testing::Page> pages;
  for (const PageExtent& extent : written.table.extents) {
    const auto bytes =
        testing::bytes_of(written.content).subspan(extent.file_offset, extent.size());
    EXPECT_EQ(checksum(bytes), extent.checksum);
    for (std::uint64_t at = 0; at < extent.size(); at += page_size) {
      std::memcpy(pages[extent.vaddr + at].data(), bytes.data() + at, page_size);
    }
  }
  return pages;
}

// What has to be stored of all pages of a source.
std::map<std::uint64_t, testing::Page> expected_pages(const FakePages& pages, bool keep_zeros) {
  auto expected = pages.pages();
  std::erase_if(expected,
                [&](const auto& entry) { return !keep_zeros && entry.second == testing::Page{}; });
  return expected;
}

TEST(CoreWriter, StoresWhatExistsAndNoZeros) {
  const TempDirectory directory;
  FakePages pages;
  const snapshot::Process process = testing::example_with_memory(pages);
  const Written written = write(process, pages, directory);
  auto expected = pages.pages();
  expected.erase(testing::heap + 2 * page_size);  // touched, but zeros; the file's zeros stay
  EXPECT_EQ(stored_pages(written), expected);
}

TEST(CoreWriter, EveryByteIsUnderAChecksum) {
  const TempDirectory directory;
  FakePages pages;
  const snapshot::Process process = testing::example_with_memory(pages);
  const Written written = write(process, pages, directory);
  const auto bytes = testing::bytes_of(written.content);
  EXPECT_EQ(written.core.size(), bytes.size());
  EXPECT_EQ(checksum(bytes.first(page_size)), written.table.header_checksum);
  EXPECT_EQ(checksum(bytes.subspan(written.core.checked_from())), written.core.checksum());
  std::uint64_t covered = 0;  // that they do not overlap is decode_extents' own check
  for (const PageExtent& extent : written.table.extents) covered += extent.size();
  EXPECT_EQ(page_size + covered, written.core.checked_from());
}

TEST(CoreWriter, PermissionsAndNames) {
  const TempDirectory directory;
  FakePages pages;
  snapshot::Process process = testing::example_with_memory(pages);
  process.set_memory_file("a.core");
  process.set_extents_file("a.extents");
  Progress progress;
  const CoreFile file = write_core(process, pages, directory.fd(), progress);
  for (const char* name : {"a.core", "a.extents"}) {
    EXPECT_EQ(std::filesystem::status(directory.path() / name).permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  }
  EXPECT_EQ(file.core.description.name(), "a.core");
  EXPECT_EQ(file.extents.description.name(), "a.extents");
}

// A large memory of pieces and holes of all lengths, by different numbers of threads, direct and
// not.
TEST(CoreWriter, ManyChunksManyThreads) {
  snapshot::Process process = testing::example_process();
  testing::add_area(process, testing::heap, testing::heap + 40000 * page_size);
  FakePages pages;
  std::uint64_t at = testing::heap;
  for (std::uint64_t i = 0; i < 200; ++i) {
    pages.put_patterns(at, i % 37);
    at += (i % 37) * page_size;
    pages.put_zeros(at, i % 5);
    at += (i % 5 + i % 3) * page_size;
  }
  const auto expected = expected_pages(pages, false);
  for (const bool direct : {false, true}) {
    for (const unsigned workers : {1U, 2U, 8U}) {
      const TempDirectory directory;
      const Written written =
          write(process, pages, directory, {.workers = workers, .direct = direct, .fault = {}});
      EXPECT_EQ(stored_pages(written), expected);
    }
  }
}

TEST(CoreWriter, OverheadIsSmall) {
  const TempDirectory directory;
  snapshot::Process process = testing::example_process();
  testing::add_area(process, testing::heap, testing::heap + 8192 * page_size);
  FakePages pages;
  for (std::uint64_t i = 0; i < 8192; i += 16) {  // 32 KiB of content, 32 KiB of zeros, and so on
    pages.put_patterns(testing::heap + i * page_size, 8);
    pages.put_zeros(testing::heap + (i + 8) * page_size, 8);
  }
  const Written written = write(process, pages, directory);
  const double data = 4096.0 * static_cast<double>(page_size);
  const auto total = static_cast<double>(
      written.content.size() + std::filesystem::file_size(directory.path() / "100.extents"));
  EXPECT_EQ(stored_pages(written).size(), 4096U);
  EXPECT_LE(total, 1.02 * data);
}

// Preallocation must leave nothing behind when most of what was planned turns out to be zeros.
TEST(CoreWriter, UnusedSpaceIsGivenBack) {
  const TempDirectory directory;
  snapshot::Process process = testing::example_process();
  testing::add_area(process, testing::heap, testing::heap + 4096 * page_size);
  FakePages pages;
  pages.put_patterns(testing::heap, 1);
  pages.put_zeros(testing::heap + page_size, 4095);
  Progress progress;
  const CoreFile file = write_core(process, pages, directory.fd(), progress);
  struct stat status {};
  ASSERT_EQ(::fstat(file.core.fd.get(), &status), 0);
  EXPECT_LT(static_cast<std::uint64_t>(status.st_size), 5 * page_size);
  EXPECT_LT(static_cast<std::uint64_t>(status.st_blocks) * 512, 16 * page_size);
}

TEST(CoreWriter, EachAreaFromItsOwnSource) {
  const TempDirectory directory;
  snapshot::Process process = testing::example_process();
  testing::add_area(process, 0x10000, 0x12000);
  testing::add_area(process, 0x12000, 0x14000)->set_dont_fork(true);
  FakePages common;
  FakePages copied;
  common.put_patterns(0x10000, 1);
  common.put_zeros(0x12000, 2);  // as it would be in the frozen copy
  copied.put_patterns(0x12000, 2);
  Progress progress;
  const auto source = [&](const snapshot::Area& area) -> base::PageSource& {
    return area.dont_fork() ? copied : common;
  };
  EXPECT_EQ(write_core(process, source, directory.fd(), progress).pages, 3U);
}

// Two areas without a gap between them, in one chunk.
TEST(CoreWriter, NoExtentCrossesAreas) {
  const TempDirectory directory;
  snapshot::Process process = testing::example_process();
  FakePages pages;
  testing::add_area(process, 0x10000, 0x12000);
  testing::add_area(process, 0x12000, 0x14000, snapshot::Area::FILE);
  pages.put_patterns(0x11000, 2);
  const Written written = write(process, pages, directory);
  ASSERT_EQ(written.table.extents.size(), 2U);
  EXPECT_EQ(written.table.extents[0].end(), 0x12000U);
  EXPECT_EQ(written.table.extents[1].vaddr, 0x12000U);
  EXPECT_EQ(stored_pages(written), pages.pages());
}

TEST(CoreWriter, CancelStopsIt) {
  const TempDirectory directory;
  FakePages pages;
  snapshot::Process process = testing::example_process();
  testing::add_area(process, testing::heap, testing::heap + 4096 * page_size);
  pages.put_patterns(testing::heap, 4096);
  Progress progress;
  std::atomic<int> reads{0};
  pages.on_read = [&] {
    if (++reads == 3) progress.cancelled = true;
  };
  EXPECT_THROW(write_core(process, pages, directory.fd(), progress,
                          {.workers = 2, .direct = true, .fault = {}}),
               base::Cancelled);
  EXPECT_LT(reads, 8);
}

TEST(CoreWriter, SourceThatFailsFailsIt) {
  const TempDirectory directory;
  FakePages pages;
  const snapshot::Process process = testing::example_with_memory(pages);
  pages.on_read = [] { throw base::Error(base::ErrorCode::program_gone, "it ended"); };
  Progress progress;
  EXPECT_EQ(testing::error_of([&] { write_core(process, pages, directory.fd(), progress); }),
            base::ErrorCode::program_gone);
}

// Whichever write fails: an error that names the file, and nothing hangs.
TEST(CoreWriter, EveryFailingWriteIsReported) {
  FakePages pages;
  const snapshot::Process process = testing::example_with_memory(pages);
  int writes = 0;
  const auto run = [&](int failing) {
    writes = 0;
    const TempDirectory directory;
    Progress progress;
    WriteOptions options{.workers = 1, .direct = true, .fault = {}};
    options.fault = [&](std::uint64_t, std::size_t) { return ++writes == failing ? ENOSPC : 0; };
    write_core(process, pages, directory.fd(), progress, options);
  };
  run(0);
  const int all = writes;
  EXPECT_EQ(all, 4);  // the pages, trailer, header, table
  for (int failing = 1; failing <= all; ++failing) {
    try {
      run(failing);
      FAIL() << "write " << failing << " failed silently";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.code(), base::ErrorCode::io);
      EXPECT_THAT(error.what(), ::testing::ContainsRegex("/100\\.(core|extents): No space left"));
      EXPECT_THAT(error.remedy(), ::testing::HasSubstr("free space"));
    }
  }
}

TEST(CoreWriter, ExistingFileIsNotTouched) {
  const TempDirectory directory;
  testing::put(directory.path() / "100.core", "precious");
  FakePages pages;
  const snapshot::Process process = testing::example_with_memory(pages);
  Progress progress;
  EXPECT_EQ(testing::error_of([&] { write_core(process, pages, directory.fd(), progress); }),
            base::ErrorCode::io);
  EXPECT_EQ(testing::content_of(directory.path() / "100.core"), "precious");
}

}  // namespace
}  // namespace torpor::image
