// A source that takes every page of an area as existing, up to the end of the file behind it.
#pragma once

#include "base/page_source.h"
#include "process/page_source.h"

namespace torpor::process {

// For private mappings of deleted files: their clean pages can be had from nowhere else.
class WholeRangeSource : public base::PageSource {
 public:
  explicit WholeRangeSource(ProcessPageSource& memory) : memory_(memory) {}

  std::vector<base::PageRun> existing_pages(std::uint64_t start, std::uint64_t end,
                                            bool file_backed) override;
  void read(std::uint64_t address, std::span<std::byte> into) override {
    memory_.read(address, into);
  }

 private:
  ProcessPageSource& memory_;
};

}  // namespace torpor::process
