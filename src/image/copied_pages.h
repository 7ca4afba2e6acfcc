// A copy of pages, for memory that the frozen copy of a process does not have (MADV_DONTFORK,
// MADV_WIPEONFORK, MAP_SHARED) and that is therefore copied in the pause.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/page_source.h"
#include "image/page_buffer.h"

namespace torpor::image {

// Filled by one thread; then read by any.
class CopiedPages : public base::PageSource {
 public:
  // Copies the pages of [start, end) of `from` that exist there, but for `skip` (guards, sorted).
  // May be called for several ranges that do not overlap.
  void copy(base::PageSource& from, std::uint64_t start, std::uint64_t end, bool file_backed,
            std::span<const base::PageRun> skip = {});

  // Copies the runs, whether they exist there or not.
  void copy(base::PageSource& from, std::span<const base::PageRun> runs);

  // What was copied.
  std::vector<base::PageRun> existing_pages(std::uint64_t start, std::uint64_t end,
                                            bool file_backed) override;
  // What was not copied reads as zeros.
  void read(std::uint64_t address, std::span<std::byte> into) override;

  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  // Calls `visit` with each copied range of [start, end), cut to it, and its bytes.
  template <typename Visit>
  void for_each(std::uint64_t start, std::uint64_t end, Visit visit) const;

  std::map<std::uint64_t, PageBuffer> pieces_;  // by address
  std::uint64_t bytes_ = 0;
};

}  // namespace torpor::image
