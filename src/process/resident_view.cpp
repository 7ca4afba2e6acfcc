#include "process/resident_view.h"

#include <algorithm>
#include <span>

#include "base/error.h"
#include "process/proc_file.h"
#include "process/remote_memory.h"
#include "process/stopped_tree.h"

namespace torpor::process {
namespace {

constexpr base::RemotePtr kArea{agent::kResidentData};

std::uint64_t bit_of(std::uint64_t signal) { return std::uint64_t{1} << (signal - 1); }

}  // namespace

ResidentView::ResidentView(pid_t pid) {
  head_ = read_value<Head>(pid, kArea);
  if (head_.magic != agent::kResidentMagic) {
    throw base::Error(base::ErrorCode::internal,
                      fmt::format("process {} has no resident agent", pid));
  }
  std::array<char, sizeof(agent::Resident::executable)> path{};
  read_memory(pid, kArea + offsetof(agent::Resident, executable),
              std::as_writable_bytes(std::span(path)));
  executable_ = path.data();
  static_assert(sizeof(Overwritten) ==
                sizeof(agent::Resident::clock_function) + sizeof(agent::Resident::clock_head));
  overwritten_ = read_value<Overwritten>(pid, kArea + offsetof(agent::Resident, clock_function));
}

std::uint64_t ResidentView::mask(std::uint64_t real, std::uint32_t blocked) const {
  if ((blocked & 1) != 0) real |= bit_of(agent::kTrapSignal);
  if ((blocked & 2) != 0) real |= bit_of(head_.record.stop_signal);
  return real;
}

bool has_resident_agent(pid_t pid) {
  const auto link = try_read_link(fmt::format("/proc/{}/exe", living_thread(pid)));
  return !link || link->starts_with(fmt::format("/memfd:{}", agent::kProgramPrefix));
}

std::optional<std::uint32_t> resident_filters(pid_t pid) {
  constexpr std::uint64_t kField =
      offsetof(agent::Resident, record) + offsetof(agent::ExecRecord, filters);
  try {
    const auto filters = read_value<std::uint64_t>(living_thread(pid), kArea + kField);
    if (filters != 0) return static_cast<std::uint32_t>(filters);
  } catch (const base::Error&) {
    // Its memory is gone.
  }
  return std::nullopt;
}

std::uint32_t count_noted_filters(pid_t pid) {
  try {
    const pid_t tid = living_thread(pid);
    const auto place =
        read_value<std::uint64_t>(tid, kArea + offsetof(agent::Resident, own_filters));
    if (place != agent::kOwnFiltersAddress) return 0;
    return read_value<std::uint32_t>(tid,
                                     base::RemotePtr(place) + offsetof(agent::OwnFilters, count));
  } catch (const base::Error&) {
    return 0;  // its memory is gone
  }
}

std::vector<SeccompProgram> read_noted_filters(pid_t pid) {
  constexpr base::RemotePtr kPlace{agent::kOwnFiltersAddress};
  std::vector<SeccompProgram> programs;
  const std::uint32_t count = std::min(count_noted_filters(pid), agent::kMostOwnFilters);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto filter = read_value<agent::OwnFilter>(
        living_thread(pid),
        kPlace + offsetof(agent::OwnFilters, filters) + i * sizeof(agent::OwnFilter));
    if (filter.first > agent::kMostOwnCode || filter.length > agent::kMostOwnCode - filter.first) {
      throw base::Error(base::ErrorCode::internal,
                        fmt::format("the agent of process {} has noted a filter wrongly", pid));
    }
    SeccompProgram program{std::string(filter.length * sizeof(sock_filter), '\0'), filter.flags};
    read_memory(living_thread(pid),
                kPlace + offsetof(agent::OwnFilters, code) + filter.first * sizeof(sock_filter),
                std::as_writable_bytes(std::span(program.instructions)));
    programs.push_back(std::move(program));
  }
  return programs;
}

std::optional<agent::ResidentThread> read_resident_thread(pid_t pid, pid_t seen_tid) {
  constexpr std::uint32_t kProbes = 64;  // as known_thread() of the agent
  const auto tid = static_cast<std::uint32_t>(seen_tid);
  for (std::uint32_t i = 0; i < kProbes; ++i) {
    const std::uint64_t index = (tid + i) % agent::kResidentThreads;
    const auto thread = read_value<agent::ResidentThread>(
        pid, kArea + offsetof(agent::Resident, threads) + index * sizeof(agent::ResidentThread));
    if (thread.tid == tid) return thread;
    if (thread.tid == 0) break;
  }
  return std::nullopt;
}

}  // namespace torpor::process
