// A copy of pages, for memory that the frozen copy of a process does not have (MADV_DONTFORK,
// MADV_WIPEONFORK, MAP_SHARED) and that is therefore copied in the pause.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/page_source.h"

namespace torpor::image {

class CopiedPages : public base::PageSource {
 public:
  // Copies the existing pages of [start, end) of `from`; may be called for several ranges, which
  // must not overlap. Leaves `skip` (guards) out.
  void copy(base::PageSource& from, std::uint64_t start, std::uint64_t end, bool file_backed,
            std::span<const base::PageRun> skip = {});

  std::vector<base::PageRun> existing_pages(std::uint64_t start, std::uint64_t end,
                                            bool file_backed) override;
  // Pages that were not copied read as zeros.
  void read(std::uint64_t address, std::span<std::byte> into) override;

 private:
  struct Piece {
    base::PageRun run;
    std::vector<std::byte> bytes;
  };
  std::vector<Piece> pieces_;  // sorted
};

}  // namespace torpor::image
