#include "image/verify.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include "image/manifest_io.h"
#include "image/test_support.h"

namespace torpor::image {
namespace {

namespace fs = std::filesystem;
using base::ErrorCode;
using base::page_size;
using ::testing::HasSubstr;
using testing::TempDirectory;

class AnImage : public ::testing::Test {
 protected:
  AnImage() : path_(testing::write_example_image(Store(directory_.path(), "job"))) {}

  // Nothing if the image is found sound. Only Errors that name a file of the image are let through.
  [[nodiscard]] std::optional<std::string> problem(
      VerifyDepth depth = VerifyDepth::everything) const {
    base::Progress progress;
    try {
      verify(Image::open(path_), progress, depth, 1);
      EXPECT_EQ(progress.bytes_done, progress.bytes_total);
      return std::nullopt;
    } catch (const base::Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_image) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(path_.string()));
      EXPECT_NE(error.remedy(), "");
      return error.what();
    }
  }

  // Changes the manifest, and gives it a checksum that fits.
  template <typename Change>
  void rewrite_manifest(Change change) const {
    snapshot::Manifest manifest = read_manifest(path_ / manifest_name);
    change(manifest);
    testing::put(path_ / manifest_name, encode_manifest(manifest));
  }

  TempDirectory directory_;
  fs::path path_;
};

TEST_F(AnImage, IsSound) {
  EXPECT_EQ(problem(), std::nullopt);
  EXPECT_EQ(problem(VerifyDepth::tables), std::nullopt);
}

// Changes in place: writing whole files anew would have them flushed to the disk each time.
void put_at(int fd, std::uint64_t offset, std::string_view bytes) {
  write_all(fd, offset, std::as_bytes(std::span(bytes)));
}

// I6, byte by byte: all files, all bytes.
TEST_F(AnImage, EveryFlippedByteOfEveryFileIsFound) {
  std::size_t files = 0;
  for (const auto& file : fs::directory_iterator(path_)) {
    ++files;
    const std::string good = testing::content_of(file.path());
    const base::UniqueFd fd(::open(file.path().c_str(), O_RDWR | O_CLOEXEC));
    for (std::size_t i = 0; i < good.size(); ++i) {
      const char bad = static_cast<char>(good[i] ^ (1 << (i % 8)));
      put_at(fd.get(), i, {&bad, 1});
      ASSERT_TRUE(problem()) << file.path() << " byte " << i;
      put_at(fd.get(), i, {&good[i], 1});
    }
  }
  EXPECT_EQ(files, 5U);
  EXPECT_EQ(problem(), std::nullopt);
}

TEST_F(AnImage, EveryTruncationIsFoundWithoutReadingPages) {
  for (const auto& file : fs::directory_iterator(path_)) {
    const std::string good = testing::content_of(file.path());
    const base::UniqueFd fd(::open(file.path().c_str(), O_RDWR | O_CLOEXEC));
    for (std::size_t length = good.size(); length-- > 0;) {
      ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(length)), 0);
      ASSERT_TRUE(problem(VerifyDepth::tables)) << file.path() << " cut to " << length;
    }
    put_at(fd.get(), 0, good + '\0');
    EXPECT_TRUE(problem(VerifyDepth::tables)) << file.path() << " with a byte more";
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(good.size())), 0);
  }
  EXPECT_EQ(problem(), std::nullopt);
}

TEST_F(AnImage, EveryMissingFileIsNamed) {
  for (const char* name :
       {"manifest.torpor", "100.core", "100.extents", "shared-1.mem", "saved-1.bin"}) {
    fs::rename(path_ / name, path_ / "away");
    EXPECT_THAT(problem().value_or("nothing"), HasSubstr(name));
    fs::rename(path_ / "away", path_ / name);
  }
}

TEST_F(AnImage, DamagedPageIsNamedWithPidAddressAndOffset) {
  const Image image = Image::open(path_);
  const PageExtent extent = image.extents(image.manifest().computation().processes(0)).extents[1];
  std::string core = testing::content_of(path_ / "100.core");
  core[extent.file_offset + 100] ^= 1;
  testing::put(path_ / "100.core", core);
  const std::string what = problem().value_or("nothing");
  EXPECT_THAT(what, HasSubstr("100.core"));
  EXPECT_THAT(what, HasSubstr("process 100"));
  EXPECT_THAT(what, HasSubstr(fmt::format("address {:#x}", extent.vaddr)));
  EXPECT_THAT(what, HasSubstr(fmt::format("offset {}", extent.file_offset)));
  EXPECT_EQ(problem(VerifyDepth::tables), std::nullopt);  // which does not look at pages
}

TEST_F(AnImage, BytesWhereContentShouldBeZerosAreFound) {
  std::string content = testing::content_of(path_ / "shared-1.mem");
  ASSERT_EQ(content[page_size + 5], '\0');
  content[page_size + 5] = 1;
  testing::put(path_ / "shared-1.mem", content);
  EXPECT_THAT(problem().value_or("nothing"), HasSubstr("should be zeros"));
}

TEST_F(AnImage, ManifestsThatPointElsewhereAreRefused) {
  const auto problem_with = [&](auto change) {
    const std::string good = testing::content_of(path_ / manifest_name);
    rewrite_manifest(change);
    std::string what = problem(VerifyDepth::tables).value_or("nothing");
    testing::put(path_ / manifest_name, good);
    return what;
  };
  using snapshot::Manifest;
  for (const char* name :
       {"../../../etc/passwd", "/etc/passwd", "", ".", "..", "manifest.torpor"}) {
    EXPECT_THAT(problem_with([&](Manifest& m) { m.mutable_files(0)->set_name(name); }),
                HasSubstr("impossible"));
  }
  EXPECT_THAT(problem_with([](Manifest& m) { *m.add_files() = m.files(0); }),
              HasSubstr("impossible"));
  EXPECT_THAT(problem_with([](Manifest& m) {
                m.mutable_computation()->mutable_processes(0)->set_memory_file("/etc/passwd");
              }),
              HasSubstr("names no file"));
  EXPECT_THAT(problem_with([](Manifest& m) {
                m.mutable_computation()->mutable_processes(0)->clear_areas();
              }),
              HasSubstr("no area"));
  EXPECT_THAT(problem_with([](Manifest& m) {
                m.mutable_computation()->mutable_processes(0)->mutable_areas(0)->set_end(0);
              }),
              HasSubstr("not in order"));
  EXPECT_THAT(problem_with([](Manifest& m) {
                m.mutable_computation()->mutable_shared_memories(0)->set_size(page_size);
              }),
              HasSubstr("bytes instead of"));
  EXPECT_THAT(problem_with([](Manifest& m) {
                auto& memory = *m.mutable_computation()->mutable_shared_memories(0);
                memory.mutable_extents(0)->set_size(~std::uint64_t{0});
              }),
              HasSubstr("impossible"));
  EXPECT_THAT(problem_with([](Manifest& m) {
                m.mutable_computation()->mutable_saved_files(0)->clear_content_file();
              }),
              HasSubstr("nothing in the manifest says"));
}

TEST_F(AnImage, LinksAndOtherKindsOfFilesAreRefused) {
  fs::rename(path_ / "100.core", directory_.path() / "elsewhere");
  fs::create_symlink(directory_.path() / "elsewhere", path_ / "100.core");
  EXPECT_THAT(problem().value_or("nothing"), HasSubstr("not a regular file"));
}

TEST_F(AnImage, CancelIsNoDamage) {
  base::Progress progress;
  progress.cancelled = true;
  EXPECT_THROW(verify(Image::open(path_), progress, VerifyDepth::everything), base::Cancelled);
}

TEST_F(AnImage, RestartsCanCheckWhileTheyLoad) {
  const Image image = Image::open(path_);
  const auto& process = image.manifest().computation().processes(0);
  const auto table = image.extents(process);
  std::string core = testing::content_of(path_ / "100.core");
  std::atomic<std::uint64_t> used = 0;
  const auto read = [&](std::vector<PageExtent> extents) {
    base::Progress progress;
    read_pages(image, process, std::move(extents), progress, 2, [&](const PageBatch& batch) {
      used += batch.bytes.size();
      const auto there = core.substr(batch.extents.front().file_offset, batch.bytes.size());
      EXPECT_TRUE(std::ranges::equal(batch.bytes, testing::bytes_of(there)));
    });
  };
  EXPECT_NO_THROW(read(table.extents));
  std::uint64_t size = 0;
  for (const PageExtent& extent : table.extents) size += extent.size();
  EXPECT_EQ(used, size);
  const auto last = std::ranges::max_element(table.extents, {}, &PageExtent::file_offset);
  core[last->file_offset] ^= 1;
  std::ofstream(path_ / "100.core", std::ios::binary) << core;
  std::vector<PageExtent> all_but_last = table.extents;
  all_but_last.erase(all_but_last.begin() + (last - table.extents.begin()));
  EXPECT_NO_THROW(read(all_but_last));
  EXPECT_EQ(testing::error_of([&] { read(table.extents); }), ErrorCode::bad_image);
}

TEST_F(AnImage, ReaderGivesWhatWasWritten) {
  const Image image = Image::open(path_);
  const auto& computation = image.manifest().computation();
  EXPECT_TRUE(image.extents(computation.processes(1)).extents.empty());  // the zombie
  const base::UniqueFd saved = image.content(computation.saved_files(0));
  EXPECT_EQ(size_of(saved.get()), 5000U);
  const base::UniqueFd shared = image.content(computation.shared_memories(0));
  testing::Page page;
  read_exactly(shared.get(), 2 * page_size, page, "shared");
  EXPECT_EQ(page, testing::pattern(2 * page_size));
  EXPECT_EQ(testing::error_of([&] { (void)image.open_file("none"); }), ErrorCode::bad_image);
  EXPECT_EQ(size_of(image.core(computation.processes(0)).get()), image.file("100.core").size());
}

TEST(NoImage, IsSaid) {
  const TempDirectory directory;
  EXPECT_EQ(testing::error_of([&] { (void)Image::open(directory.path()); }), ErrorCode::bad_image);
  EXPECT_EQ(testing::error_of([&] { (void)Image::open(directory.path() / "none"); }),
            ErrorCode::not_found);
}

// Larger than one batch, and by several threads.
TEST(Verify, FindsTheOneBadPageOfMany) {
  const TempDirectory directory;
  const Store store(directory.path(), "job");
  constexpr std::uint64_t pages = 3000;
  {
    ImageWriter writer(store);
    base::Progress progress;
    testing::FakePages memory;
    memory.put_patterns(testing::heap, pages);
    snapshot::Manifest manifest;
    auto& process = *manifest.mutable_computation()->add_processes();
    process = testing::example_process();
    testing::add_area(process, testing::heap, testing::heap + pages * page_size);
    process.set_memory_file(core_name(100));
    process.set_extents_file(extents_name(100));
    CoreFile core = write_core(process, memory, writer.directory_fd(), progress);
    writer.add(std::move(core.core));
    writer.add(std::move(core.extents));
    writer.commit(std::move(manifest));
  }
  std::string core = testing::content_of(store.path_of(1) / "100.core");
  for (const std::uint64_t page : {1UL, 777UL, 3000UL}) {
    core[page * page_size + page] ^= 4;
    testing::put(store.path_of(1) / "100.core", core);
    base::Progress progress;
    EXPECT_EQ(testing::error_of([&] {
                verify(Image::open(store.path_of(1)), progress, VerifyDepth::everything, 4);
              }),
              ErrorCode::bad_image);
    core[page * page_size + page] ^= 4;
  }
  testing::put(store.path_of(1) / "100.core", core);
  base::Progress progress;
  EXPECT_NO_THROW(verify(Image::open(store.path_of(1)), progress, VerifyDepth::everything, 4));
}

}  // namespace
}  // namespace torpor::image
