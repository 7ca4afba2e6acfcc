#include "image/copied_pages.h"

#include <algorithm>
#include <iterator>

#include "image/core_plan.h"

namespace torpor::image {

using base::PageRun;

template <typename Visit>
void CopiedPages::for_each(std::uint64_t start, std::uint64_t end, Visit visit) const {
  auto piece = pieces_.upper_bound(start);
  if (piece != pieces_.begin()) --piece;  // it may begin before and reach into the range
  for (; piece != pieces_.end() && piece->first < end; ++piece) {
    const std::uint64_t from = std::max(start, piece->first);
    const std::uint64_t to = std::min(end, piece->first + piece->second.bytes().size());
    if (from >= to) continue;
    const std::span<const std::byte> bytes = piece->second.bytes();
    visit(PageRun{from, to}, bytes.subspan(from - piece->first, to - from));
  }
}

void CopiedPages::copy(base::PageSource& from, std::span<const PageRun> runs) {
  for (const PageRun& run : runs) {
    PageBuffer buffer(run.size());
    from.read(run.start, buffer.bytes());
    bytes_ += run.size();
    pieces_.insert_or_assign(run.start, std::move(buffer));
  }
}

void CopiedPages::copy(base::PageSource& from, std::uint64_t start, std::uint64_t end,
                       bool file_backed, std::span<const PageRun> skip) {
  copy(from, without(from.existing_pages(start, end, file_backed), skip));
}

std::vector<PageRun> CopiedPages::existing_pages(std::uint64_t start, std::uint64_t end,
                                                 bool /*file_backed*/) {
  std::vector<PageRun> runs;
  for_each(start, end, [&](const PageRun& run, std::span<const std::byte>) {
    if (!runs.empty() && runs.back().end == run.start) {
      runs.back().end = run.end;
    } else {
      runs.push_back(run);
    }
  });
  return runs;
}

void CopiedPages::read(std::uint64_t address, std::span<std::byte> into) {
  std::ranges::fill(into, std::byte{0});
  for_each(
      address, address + into.size(), [&](const PageRun& run, std::span<const std::byte> bytes) {
        std::ranges::copy(bytes, into.begin() + static_cast<std::ptrdiff_t>(run.start - address));
      });
}

}  // namespace torpor::image
