#include "image/verify.h"

#include <fcntl.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "image/checksum.h"
#include "image/content_check.h"
#include "image/file_io.h"
#include "image/page_buffer.h"
#include "image/parallel.h"

namespace torpor::image {

using base::page_size;
using snapshot::ImageFile;
using snapshot::Process;

namespace {

constexpr std::uint64_t batch_size = max_extent_pages * page_size;
constexpr char operation[] = "verifying the image";

// Extents that lie behind each other in the file, at most 1 MiB together: read in one go.
using Batch = std::span<const PageExtent>;

std::vector<Batch> in_batches(std::span<const PageExtent> by_offset) {
  std::vector<Batch> batches;
  std::size_t first = 0;
  std::uint64_t size = 0;
  for (std::size_t i = 0; i < by_offset.size(); ++i) {
    if (size + by_offset[i].size() > batch_size) {
      batches.push_back(by_offset.subspan(first, i - first));
      first = i;
      size = 0;
    }
    size += by_offset[i].size();
  }
  if (first < by_offset.size()) batches.push_back(by_offset.subspan(first));
  return batches;
}

void verify_extent(std::span<const std::byte> pages, const PageExtent& extent,
                   const std::string& name, std::int32_t pid) {
  if (checksum(pages) == extent.checksum) return;
  throw_bad_image(name,
                  fmt::format("damaged: {} pages of process {} at address {:#x} (offset {}) do "
                              "not fit their checksum",
                              extent.pages, pid, extent.vaddr, extent.file_offset));
}

class PageVerifier {
 public:
  PageVerifier(int fd, std::string name, std::int32_t pid, base::Progress& progress,
               const UsePages& use)
      : fd_(fd), name_(std::move(name)), pid_(pid), progress_(progress), use_(use) {}

  void verify(Batch batch, std::span<std::byte> buffer) const {
    const std::uint64_t start = batch.front().file_offset;
    buffer = buffer.first(batch.back().file_offset + batch.back().size() - start);
    read_exactly(fd_, start, buffer, name_);
    for (const PageExtent& extent : batch) {
      verify_extent(buffer.subspan(extent.file_offset - start, extent.size()), extent, name_, pid_);
    }
    if (use_) use_({batch, buffer});
    progress_.advance(buffer.size(), operation);
  }

 private:
  int fd_;
  std::string name_;
  std::int32_t pid_;
  base::Progress& progress_;
  const UsePages& use_;
};

// The table covers the file without gaps (Image::extents), so batches are gapless too.
void verify_pages(int fd, const std::string& name, std::int32_t pid,
                  std::vector<PageExtent> extents, base::Progress& progress, unsigned workers,
                  const UsePages& use) {
  std::ranges::sort(extents, {}, &PageExtent::file_offset);
  const std::vector<Batch> batches = in_batches(extents);
  for (const PageExtent& extent : extents) progress.bytes_total += extent.size();
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  const PageVerifier verifier(fd, name, pid, progress, use);
  parallel_for(batches.size(), workers, [&]() -> Worker {
    auto buffer = std::make_shared<PageBuffer>(batch_size);
    return [&, buffer](std::size_t item) { verifier.verify(batches[item], buffer->bytes()); };
  });
}

void verify_header(int fd, const ExtentTable& table, const std::string& name) {
  if (checksum_of_file(fd, 0, page_size, name) != table.header_checksum) {
    throw_bad_image(name, "damaged: the ELF header (offset 0) does not fit its checksum");
  }
}

// The part that the manifest itself vouches for.
void verify_checked_part(int fd, const ImageFile& file, const std::string& name,
                         base::Progress& progress) {
  const std::uint64_t size = file.size() - file.checked_from();
  progress.bytes_total += size;
  if (checksum_of_file(fd, file.checked_from(), file.size(), name) != file.checksum()) {
    throw_bad_image(name, fmt::format("damaged: the {} bytes from {} on do not fit their checksum",
                                      size, file.checked_from()));
  }
  progress.advance(size, operation);
}

// Checks the parts of files that not the manifest's checksums but tables cover, and notes whose
// they are.
class ImageVerifier {
 public:
  ImageVerifier(const Image& image, base::Progress& progress, VerifyDepth depth, unsigned workers)
      : image_(image), progress_(progress), depth_(depth), workers_(workers) {}

  void verify() {
    const snapshot::Computation& computation = image_.manifest().computation();
    for (const Process& process : computation.processes()) {
      if (process.memory_file().empty()) continue;
      known_.insert(process.memory_file());
      verify_process(image_, process, progress_, depth_, workers_);
    }
    for (const auto& memory : computation.shared_memories()) verify_content(memory);
    for (const auto& saved : computation.saved_files()) verify_content(saved);
    for (const ImageFile& file : image_.manifest().files()) verify_rest(file);
  }

 private:
  template <typename Content>
  void verify_content(const Content& content) {
    if (content.content_file().empty()) return;
    const base::UniqueFd fd = image_.content(content);
    known_.insert(content.content_file());
    if (depth_ == VerifyDepth::tables) return;
    check_content(fd.get(), content.size(), content.extents(),
                  image_.path() / content.content_file(), progress_, workers_);
  }

  void verify_rest(const ImageFile& file) {
    const std::string name = image_.path() / file.name();
    if (file.checked_from() != 0 && !known_.contains(file.name())) {
      throw_bad_image(name, "nothing in the manifest says what its beginning must hold");
    }
    verify_checked_part(image_.open_file(file.name()).get(), file, name, progress_);
  }

  const Image& image_;
  base::Progress& progress_;
  VerifyDepth depth_;
  unsigned workers_;
  std::set<std::string> known_;  // files whose beginning is covered by a table
};

}  // namespace

void verify_process(const Image& image, const Process& process, base::Progress& progress,
                    VerifyDepth depth, unsigned workers) {
  const std::string name = image.path() / process.memory_file();
  const base::UniqueFd core = image.core(process);
  ExtentTable table = image.extents(process);
  verify_header(core.get(), table, name);
  if (depth != VerifyDepth::everything) return;
  verify_pages(core.get(), name, process.pid(), std::move(table.extents), progress, workers, {});
}

void read_pages(const Image& image, const Process& process, std::vector<PageExtent> extents,
                base::Progress& progress, unsigned workers, const UsePages& use) {
  if (extents.empty()) return;
  const base::UniqueFd core = image.core(process);
  verify_pages(core.get(), image.path() / process.memory_file(), process.pid(), std::move(extents),
               progress, workers, use);
}

void verify(const Image& image, base::Progress& progress, VerifyDepth depth, unsigned workers) {
  ImageVerifier(image, progress, depth, workers).verify();
}

}  // namespace torpor::image
