#include "process/whole_range_source.h"

#include <array>

#include "base/error.h"

namespace torpor::process {

// Pages beyond the end of the file cannot be read (SIGBUS for the program, EIO for us): they all
// lie at the end of the area, so the first that fails is found by halving.
std::vector<base::PageRun> WholeRangeSource::existing_pages(std::uint64_t start, std::uint64_t end,
                                                            bool) {
  const auto readable = [this](std::uint64_t address) {
    std::array<std::byte, 1> byte{};
    try {
      memory_.read(address, byte);
      return true;
    } catch (const base::Error&) {
      return false;
    }
  };
  std::uint64_t low = start;
  std::uint64_t high = end;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2 / base::page_size * base::page_size;
    if (readable(middle)) {
      low = middle + base::page_size;
    } else {
      high = middle;
    }
  }
  if (low == start) return {};
  return {{start, low}};
}

}  // namespace torpor::process
