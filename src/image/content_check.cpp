#include "image/content_check.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/page_source.h"
#include "image/checksum.h"
#include "image/extents.h"
#include "image/file_io.h"
#include "image/page_buffer.h"
#include "image/parallel.h"

namespace torpor::image {

namespace {

constexpr std::uint64_t piece_size = max_extent_pages * base::page_size;
constexpr char operation[] = "verifying the image";

// What one thread checks at a time: an extent, or a part of what must be zeros.
struct Piece {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  const snapshot::Extent* extent = nullptr;
};

class ContentChecker {
 public:
  ContentChecker(int fd, std::uint64_t size, const std::string& name, base::Progress& progress)
      : fd_(fd), size_(size), name_(name), progress_(progress) {}

  void plan(const google::protobuf::RepeatedPtrField<snapshot::Extent>& extents) {
    std::uint64_t at = 0;
    for (const snapshot::Extent& extent : extents) {
      plan_zeros(at, extent.offset());
      add({extent.offset(), extent.size(), &extent});
      at = extent.offset() + extent.size();
    }
    plan_zeros(at, size_);
  }

  [[nodiscard]] std::size_t pieces() const { return pieces_.size(); }

  void check(std::size_t item, std::span<std::byte> buffer) const {
    const Piece& piece = pieces_[item];
    buffer = buffer.first(piece.size);
    read_exactly(fd_, piece.offset, buffer, name_);
    const bool fits =
        piece.extent != nullptr ? checksum(buffer) == piece.extent->checksum() : is_zero(buffer);
    if (!fits) {
      throw_bad_image(
          name_,
          fmt::format("damaged: the {} bytes at offset {} {}", piece.size, piece.offset,
                      piece.extent != nullptr ? "do not fit their checksum" : "should be zeros"));
    }
    progress_.advance(piece.size, operation);
  }

 private:
  void add(Piece piece) {
    progress_.bytes_total += piece.size;
    pieces_.push_back(piece);
  }

  // Holes are zeros without being read.
  void plan_zeros(std::uint64_t start, std::uint64_t end) {
    while (start < end) {
      start = std::max(start, next_data(start));
      if (start >= end) return;
      const std::uint64_t size = std::min(end - start, piece_size);
      add({start, size, nullptr});
      start += size;
    }
  }

  [[nodiscard]] std::uint64_t next_data(std::uint64_t offset) const {
    const off_t data = ::lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
    if (data >= 0) return static_cast<std::uint64_t>(data);
    return errno == ENXIO ? size_ : offset;
  }

  int fd_;
  std::uint64_t size_;
  const std::string& name_;
  base::Progress& progress_;
  std::vector<Piece> pieces_;
};

}  // namespace

void check_content(int fd, std::uint64_t size,
                   const google::protobuf::RepeatedPtrField<snapshot::Extent>& extents,
                   const std::string& name, base::Progress& progress, unsigned workers) {
  ContentChecker checker(fd, size, name, progress);
  checker.plan(extents);
  parallel_for(checker.pieces(), workers, [&]() -> Worker {
    auto buffer = std::make_shared<PageBuffer>(piece_size);
    return [&, buffer](std::size_t item) { checker.check(item, buffer->bytes()); };
  });
}

}  // namespace torpor::image
