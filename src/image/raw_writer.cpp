#include "image/raw_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "image/checksum.h"
#include "image/data_file.h"
#include "image/extents.h"
#include "image/file_io.h"
#include "image/page_buffer.h"
#include "image/parallel.h"

namespace torpor::image {

using base::page_size;
using base::PageRun;

namespace {

constexpr std::uint64_t piece_size = max_extent_pages * page_size;

std::uint64_t round_up(std::uint64_t size) {
  return (size + page_size - 1) / page_size * page_size;
}

// Fills the buffer from an offset of the content.
using ReadAt = std::function<void(std::uint64_t offset, std::span<std::byte> into)>;

// Writes pieces of the content to where they lie in it; pages of zeros are left out.
class ContentStorage {
 public:
  ContentStorage(DataFile& file, std::uint64_t size, ReadAt read, base::Progress& progress)
      : file_(file), size_(size), read_(std::move(read)), progress_(progress) {}

  // `piece` is page-aligned, but for the end of the content.
  void store(const PageRun& piece, std::span<std::byte> buffer) {
    progress_.check("writing the image");
    const std::uint64_t end = std::min(piece.end, size_);
    buffer = buffer.first(round_up(end - piece.start));
    read_(piece.start, buffer.first(end - piece.start));
    std::ranges::fill(buffer.subspan(end - piece.start), std::byte{0});
    for (std::uint64_t at = 0; at < buffer.size();) at = store_next(piece.start, at, buffer);
    progress_.advance(piece.size(), "writing the image");
  }

  std::vector<snapshot::Extent> take() {
    std::ranges::sort(extents_, {}, [](const auto& extent) { return extent.offset(); });
    return std::move(extents_);
  }

 private:
  // Stores the next pages with content in `buffer`, from `at` on. Returns where it got to.
  std::uint64_t store_next(std::uint64_t piece, std::uint64_t at,
                           std::span<const std::byte> buffer) {
    while (at < buffer.size() && is_zero(buffer.subspan(at, page_size))) at += page_size;
    std::uint64_t end = at;
    while (end < buffer.size() && !is_zero(buffer.subspan(end, page_size))) end += page_size;
    if (end > at) write(piece + at, buffer.subspan(at, end - at));
    return end;
  }

  void write(std::uint64_t offset, std::span<const std::byte> pages) {
    file_.write_pages(offset, pages);  // may go beyond the end, for the file is cut in the end
    const auto content = pages.first(std::min<std::uint64_t>(pages.size(), size_ - offset));
    snapshot::Extent extent;
    extent.set_offset(offset);
    extent.set_size(content.size());
    extent.set_checksum(checksum(content));
    const std::lock_guard lock(mutex_);
    extents_.push_back(std::move(extent));
  }

  DataFile& file_;
  const std::uint64_t size_;
  const ReadAt read_;
  base::Progress& progress_;
  std::mutex mutex_;
  std::vector<snapshot::Extent> extents_;
};

std::vector<PageRun> in_pieces(std::span<const PageRun> ranges) {
  std::vector<PageRun> pieces;
  for (const PageRun& range : ranges) {
    for (std::uint64_t at = range.start; at < range.end; at += piece_size) {
      pieces.push_back({at, std::min(range.end, at + piece_size)});
    }
  }
  return pieces;
}

// `ranges`: offsets, page-aligned, sorted.
ContentFile write_ranges(std::span<const PageRun> ranges, std::uint64_t size, const ReadAt& read,
                         int directory_fd, const std::string& name, base::Progress& progress,
                         const WriteOptions& options) {
  const FileSizeSignalGuard guard;
  const std::vector<PageRun> pieces = in_pieces(ranges);
  std::uint64_t buffer_size = 0;
  for (const PageRun& piece : pieces) {
    progress.bytes_total += piece.size();
    buffer_size = std::max(buffer_size, piece.size());
  }
  DataFile file(directory_fd, name, 0, options);
  ContentStorage storage(file, size, read, progress);
  const unsigned workers = options.workers != 0 ? options.workers : default_workers();
  parallel_for(pieces.size(), workers, [&]() -> Worker {
    auto buffer = std::make_shared<PageBuffer>(buffer_size);
    auto guard_of_thread = std::make_shared<FileSizeSignalGuard>();
    return [&, buffer, guard_of_thread](std::size_t item) {
      storage.store(pieces[item], buffer->bytes());
    };
  });
  file.end_pages();
  return {std::move(file).finish(size, checksum({}), size), storage.take()};
}

void read_source(int fd, std::uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t n = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::throw_system("reading {} at {}", path_of_fd(fd), offset);
    if (n == 0) {
      throw base::Error(base::ErrorCode::io,
                        fmt::format("{} became shorter while it was read", path_of_fd(fd)),
                        "checkpoint again");
    }
    offset += static_cast<std::uint64_t>(n);
    into = into.subspan(static_cast<std::size_t>(n));
  }
}

// lseek(2): SEEK_DATA says ENXIO when only a hole is left, EINVAL where nobody knows.
std::vector<PageRun> data_ranges(int source_fd, std::uint64_t size) {
  if (size == 0) return {};
  const base::UniqueFd own(
      ::open(fmt::format("/proc/self/fd/{}", source_fd).c_str(), O_RDONLY | O_CLOEXEC));
  if (!own) return {{0, round_up(size)}};
  std::vector<PageRun> ranges;
  for (std::uint64_t at = 0; at < size;) {
    const off_t data = ::lseek(own.get(), static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    const off_t hole = data < 0 ? -1 : ::lseek(own.get(), data, SEEK_HOLE);
    if (data < 0 || hole <= data) return {{0, round_up(size)}};
    const std::uint64_t start =
        std::max(static_cast<std::uint64_t>(data) / page_size * page_size, at);
    const std::uint64_t end = round_up(std::min(static_cast<std::uint64_t>(hole), size));
    if (start < end) ranges.push_back({start, end});
    at = end;
  }
  return ranges;
}

}  // namespace

std::string shared_memory_name(std::uint64_t id) { return fmt::format("shared-{}.mem", id); }
std::string saved_file_name(std::uint64_t id) { return fmt::format("saved-{}.bin", id); }

ContentFile write_content(int source_fd, std::uint64_t size, int directory_fd,
                          const std::string& name, base::Progress& progress,
                          const WriteOptions& options) {
  const ReadAt read = [source_fd](std::uint64_t offset, std::span<std::byte> into) {
    read_source(source_fd, offset, into);
  };
  return write_ranges(data_ranges(source_fd, size), size, read, directory_fd, name, progress,
                      options);
}

ContentFile write_content(base::PageSource& source, std::uint64_t start, std::uint64_t size,
                          std::span<const PageRun> runs, int directory_fd, const std::string& name,
                          base::Progress& progress, const WriteOptions& options) {
  std::vector<PageRun> ranges;
  for (const PageRun& run : runs) ranges.push_back({run.start - start, run.end - start});
  const ReadAt read = [&source, start](std::uint64_t offset, std::span<std::byte> into) {
    source.read(start + offset, into);
  };
  return write_ranges(ranges, size, read, directory_fd, name, progress, options);
}

ContentFile write_content(base::PageSource& source, std::uint64_t start, std::uint64_t size,
                          int directory_fd, const std::string& name, base::Progress& progress,
                          const WriteOptions& options) {
  return write_content(source, start, size, source.existing_pages(start, start + size, false),
                       directory_fd, name, progress, options);
}

}  // namespace torpor::image
