#include "cli/targets.h"

#include <sys/stat.h>

#include <charconv>

#include "base/error.h"
#include "cli/duration.h"
#include "image/store.h"
#include "supervisor/control_client.h"
#include "supervisor/runtime_dir.h"

namespace torpor::cli {
namespace {

control::Status only_one() {
  std::vector<control::Status> all = supervisor::all_statuses(supervisor::runtime_directory());
  if (all.size() == 1) return std::move(all.front());
  if (all.empty()) {
    throw base::Error(base::ErrorCode::not_found, "no computation is running",
                      "start one with `torpor launch`, or name the PID of a running program");
  }
  std::string names;
  for (const control::Status& status : all) names += " " + status.name();
  throw base::Error(base::ErrorCode::usage,
                    fmt::format("{} computations are running: which one?", all.size()),
                    "one of:" + names);
}

std::optional<control::Status> by_name(const std::string& name) {
  try {
    return supervisor::status_of(supervisor::runtime_directory(), name);
  } catch (const base::Error& error) {
    if (error.code() != base::ErrorCode::not_found) throw;
    return std::nullopt;
  }
}

void check_exists(pid_t pid) {
  struct stat facts {};
  if (::stat(fmt::format("/proc/{}", pid).c_str(), &facts) == 0) return;
  throw base::Error(base::ErrorCode::not_found, fmt::format("there is no process {}", pid));
}

}  // namespace

std::filesystem::path store_directory(const std::string& given) {
  return std::filesystem::absolute(given.empty() ? image::default_directory()
                                                 : std::filesystem::path(given));
}

supervisor::CheckpointPolicy policy(const std::string& directory, unsigned keep,
                                    const std::string& interval) {
  return {.directory = store_directory(directory),
          .keep = keep,
          .interval = interval.empty() ? std::chrono::milliseconds(0) : parse_duration(interval)};
}

Target find_target(const std::string& word) {
  if (word.empty()) return {.computation = only_one()};
  if (auto status = by_name(word)) return {.computation = std::move(status)};
  const std::optional<pid_t> pid = parse_pid(word);
  if (!pid) {
    throw base::Error(base::ErrorCode::not_found,
                      fmt::format("no computation named '{}' is running", word),
                      "`torpor ps` shows those that run; a PID may be given, too");
  }
  check_exists(*pid);
  return {.computation = supervisor::managing(supervisor::runtime_directory(), *pid), .pid = *pid};
}

std::optional<pid_t> parse_pid(std::string_view word) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), pid);
  const bool all = end == word.data() + word.size();
  return error == std::errc() && all && pid > 0 ? std::optional(pid) : std::nullopt;
}

std::optional<std::string> if_given(const std::string& word) {
  return word.empty() ? std::nullopt : std::optional(word);
}

}  // namespace torpor::cli
