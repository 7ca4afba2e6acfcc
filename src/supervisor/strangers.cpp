#include "supervisor/strangers.h"

#include <optional>

#include "base/error.h"
#include "process/proc_stat.h"

namespace torpor::supervisor {
namespace {

std::optional<std::uint64_t> start_of(pid_t pid) {
  try {
    return process::read_stat(pid).starttime;
  } catch (const base::Error& error) {
    if (error.code() != base::ErrorCode::program_gone) throw;
    return std::nullopt;
  }
}

}  // namespace

void Strangers::add(std::span<const pid_t> pids) {
  for (const pid_t pid : pids) {
    if (const auto start = start_of(pid)) known_.emplace_back(pid, *start);
  }
}

std::vector<pid_t> Strangers::present() const {
  std::vector<pid_t> pids;
  for (const auto& [pid, start] : known_) {
    if (start_of(pid) == start) pids.push_back(pid);
  }
  return pids;
}

}  // namespace torpor::supervisor
