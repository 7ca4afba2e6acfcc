#include "resource/id_translation.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "process/proc_file.h"
#include "process/proc_scan.h"

namespace torpor::resource {
namespace {

constexpr std::uint32_t kOverflow = 65534;  // /proc/sys/kernel/overflowuid

std::optional<std::uint32_t> translated(const std::vector<IdTranslation::Range>& ranges,
                                        std::uint32_t ours) {
  for (const IdTranslation::Range& range : ranges) {
    if (ours - range.outside < range.count) return range.inside + (ours - range.outside);
  }
  return std::nullopt;
}

}  // namespace

IdTranslation IdTranslation::of(pid_t pid) {
  const std::string theirs = process::read_link(fmt::format("/proc/{}/ns/user", pid));
  return {parse(process::read_proc_file(pid, "uid_map"), "uid_map"),
          parse(process::read_proc_file(pid, "gid_map"), "gid_map"),
          theirs == process::read_link("/proc/self/ns/user")};
}

std::vector<IdTranslation::Range> IdTranslation::parse(std::string_view text,
                                                       std::string_view file) {
  std::vector<Range> ranges;
  process::Scanner scanner(text, file);
  while (!scanner.empty()) {
    process::Scanner line = scanner.line();
    Range& range = ranges.emplace_back();
    range.inside = line.number<std::uint32_t>();
    range.outside = line.number<std::uint32_t>();
    range.count = line.number<std::uint32_t>();
  }
  return ranges;
}

bool IdTranslation::has(const std::vector<Range>& ranges, std::uint32_t theirs) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [theirs](const Range& range) { return theirs - range.inside < range.count; });
}

std::uint32_t IdTranslation::uid(std::uint32_t ours) const {
  return same_ ? ours : translated(uids_, ours).value_or(kOverflow);
}

std::uint32_t IdTranslation::gid(std::uint32_t ours) const {
  return same_ ? ours : translated(gids_, ours).value_or(kOverflow);
}

std::uint32_t IdTranslation::group(std::uint32_t ours) const {
  return same_ ? ours : translated(gids_, ours).value_or(ours);
}

}  // namespace torpor::resource
