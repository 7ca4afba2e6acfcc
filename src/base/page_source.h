// Where the pages of an address space come from: a process, or a copy of its memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace torpor::base {

inline constexpr std::uint64_t page_size = 4096;  // x86-64 has no other base page

// Addresses [start, end), both page-aligned.
struct PageRun {
  std::uint64_t start = 0;
  std::uint64_t end = 0;

  [[nodiscard]] std::uint64_t size() const { return end - start; }
  bool operator==(const PageRun&) const = default;
};

// The memory must not change while it is being read. All functions may be called from several
// threads at once. Errors: base::Error.
class PageSource {
 public:
  virtual ~PageSource() = default;

  // The pages of [start, end) that have content of their own: sorted, not adjacent, not
  // overlapping. `start` and `end` are page-aligned and lie within one area.
  //  - file_backed == false: pages that were touched; what is not named reads as zeros.
  //  - file_backed == true (private mapping of a file or memfd): pages that were written; what is
  //    not named reads as the file.
  // Pages of zeros may be named.
  virtual std::vector<PageRun> existing_pages(std::uint64_t start, std::uint64_t end,
                                              bool file_backed) = 0;

  // Fills `into` with the memory at `address`, whatever its protection is. Throws unless all of it
  // could be read.
  virtual void read(std::uint64_t address, std::span<std::byte> into) = 0;

  // The same for several runs, one behind the other; `into` is as long as all of them.
  virtual void read_runs(std::span<const PageRun> runs, std::span<std::byte> into) {
    for (const PageRun& run : runs) {
      read(run.start, into.first(run.size()));
      into = into.subspan(run.size());
    }
  }
};

}  // namespace torpor::base
