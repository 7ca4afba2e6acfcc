#include "image/page_store.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "image/checksum.h"
#include "image/file_io.h"
#include "image/page_buffer.h"
#include "image/parallel.h"

namespace torpor::image {

using base::page_size;
using base::PageRun;

namespace {

// Pushes the pages that are to be stored together at the front of a chunk's buffer, and describes
// them by extents whose file offsets are those in the buffer, still without checksums.
class Sieve {
 public:
  explicit Sieve(std::span<std::byte> buffer) : buffer_(buffer) {}

  // Each run begins an extent of its own, for the next may be of another area.
  void take(const PageRun& run, bool keep_zeros) {
    continues_ = false;
    for (std::uint64_t address = run.start; address < run.end; address += page_size) {
      const std::span<const std::byte> page = buffer_.subspan(read_, page_size);
      read_ += page_size;
      if (keep_zeros || !is_zero(page)) keep(address, page);
    }
  }

  [[nodiscard]] std::span<std::byte> kept() const { return buffer_.first(kept_); }
  [[nodiscard]] std::vector<PageExtent>& extents() { return extents_; }

 private:
  void keep(std::uint64_t address, std::span<const std::byte> page) {
    if (page.data() != buffer_.data() + kept_) {
      std::memcpy(buffer_.data() + kept_, page.data(), page_size);
    }
    if (!continues_ || extents_.back().end() != address) {
      extents_.push_back({.vaddr = address, .file_offset = kept_});
    }
    continues_ = true;
    ++extents_.back().pages;
    kept_ += page_size;
  }

  std::span<std::byte> buffer_;
  bool continues_ = false;
  std::size_t read_ = 0;
  std::size_t kept_ = 0;
  std::vector<PageExtent> extents_;
};

class Storage {
 public:
  Storage(const CorePlan& plan, DataFile& file, base::Progress& progress)
      : plan_(plan), file_(file), progress_(progress) {}

  void store(const Chunk& chunk, std::span<std::byte> buffer) {
    progress_.check("writing the image");
    buffer = buffer.first(chunk.bytes);
    const std::span<const PageRun> runs = plan_.runs_of(chunk);
    chunk.source->read_runs(runs, buffer);
    Sieve sieve(buffer);
    for (std::size_t i = 0; i < runs.size(); ++i) {
      sieve.take(runs[i], plan_.keep_zeros[chunk.first_run + i]);
    }
    write(sieve);
    progress_.advance(chunk.bytes, "writing the image");
  }

  std::vector<PageExtent> take() {
    std::ranges::sort(extents_, {}, &PageExtent::vaddr);
    return std::move(extents_);
  }

 private:
  void write(Sieve& sieve) {
    const std::span<const std::byte> bytes = sieve.kept();
    if (bytes.empty()) return;
    const std::uint64_t offset = file_.claim(bytes.size());
    for (PageExtent& extent : sieve.extents()) {
      extent.checksum = checksum(bytes.subspan(extent.file_offset, extent.size()));
      extent.file_offset += offset;
    }
    file_.write_pages(offset, bytes);
    const std::lock_guard lock(mutex_);
    extents_.insert(extents_.end(), sieve.extents().begin(), sieve.extents().end());
  }

  const CorePlan& plan_;
  DataFile& file_;
  base::Progress& progress_;
  std::mutex mutex_;
  std::vector<PageExtent> extents_;
};

std::uint64_t largest_chunk(const CorePlan& plan) {
  std::uint64_t largest = 0;
  for (const Chunk& chunk : plan.chunks) largest = std::max(largest, chunk.bytes);
  return largest;
}

}  // namespace

std::vector<PageExtent> store_pages(const CorePlan& plan, DataFile& file, unsigned workers,
                                    base::Progress& progress) {
  Storage storage(plan, file, progress);
  const std::uint64_t buffer_size = largest_chunk(plan);
  parallel_for(plan.chunks.size(), workers, [&]() -> Worker {
    auto buffer = std::make_shared<PageBuffer>(buffer_size);
    auto guard = std::make_shared<FileSizeSignalGuard>();
    return
        [&, buffer, guard](std::size_t item) { storage.store(plan.chunks[item], buffer->bytes()); };
  });
  return storage.take();
}

}  // namespace torpor::image
