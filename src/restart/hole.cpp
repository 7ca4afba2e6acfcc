#include "restart/hole.h"

#include <algorithm>
#include <vector>

#include "agent/agent_abi.h"
#include "base/error.h"

namespace torpor::restart {
namespace {

constexpr std::uint64_t kLowest = std::uint64_t{1} << 32;
constexpr std::uint64_t kHighest = (std::uint64_t{1} << 47) - (std::uint64_t{1} << 21);
constexpr std::uint64_t kMargin = 1 << 21;  // to a stack that grows
constexpr std::uint64_t kMegabyte = 1 << 20;

struct Range {
  std::uint64_t start;
  std::uint64_t end;
};

std::vector<Range> taken_ranges(const snapshot::Computation& model) {
  std::vector<Range> taken;
  for (const snapshot::Process& process : model.processes()) {
    for (const snapshot::Area& area : process.areas()) {
      const std::uint64_t below = area.grows_down() ? (std::uint64_t{1} << 30) : kMargin;
      taken.push_back({area.start() - std::min(area.start(), below), area.end() + kMargin});
    }
  }
  std::sort(taken.begin(), taken.end(),
            [](const Range& a, const Range& b) { return a.start < b.start; });
  return taken;
}

}  // namespace

Hole Hole::find(const snapshot::Computation& model, std::uint64_t code_bytes) {
  int most_threads = 1;
  for (const snapshot::Process& process : model.processes()) {
    most_threads = std::max(most_threads, process.threads_size());
  }
  Hole hole;
  hole.size_ = code_bytes + agent::kContextBytes + kParkingBytes +
               static_cast<std::uint64_t>(most_threads) * kBytesPerThread + kMegabyte;
  hole.start_ = kLowest;
  for (const Range& range : taken_ranges(model)) {
    if (range.end <= hole.start_) continue;
    if (range.start >= hole.start_ + hole.size_) break;
    hole.start_ = range.end;
  }
  if (hole.end() > kHighest) {
    throw base::Error(base::ErrorCode::conflict,
                      "the processes of the image leave no common free range of addresses");
  }
  hole.context_ = hole.start_ + code_bytes;
  hole.parking_ = hole.context_ + agent::kContextBytes;
  hole.thread_area_ = hole.parking_ + kParkingBytes;
  return hole;
}

Hole Hole::of_resident(const snapshot::Computation& model) {
  constexpr std::uint64_t kParkingOffset = 0x800000;
  static_assert(agent::kResidentBytes < kParkingOffset);
  Hole hole;
  hole.start_ = agent::kResidentBase;
  hole.size_ = agent::kResidentSpan;
  hole.context_ = agent::kResidentData + offsetof(agent::Resident, context);
  hole.parking_ = hole.start_ + kParkingOffset;
  hole.thread_area_ = agent::kRestartAddress;
  for (const snapshot::Process& process : model.processes()) {
    for (const snapshot::Area& area : process.areas()) {
      if (area.end() <= hole.start() || area.start() >= hole.end()) continue;
      throw base::Error(base::ErrorCode::conflict,
                        fmt::format("process {} has memory at {:#x}, where the resident agent must "
                                    "be",
                                    process.pid(), area.start()));
    }
  }
  return hole;
}

}  // namespace torpor::restart
