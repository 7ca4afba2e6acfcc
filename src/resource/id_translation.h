// Ids as we see them, and as a process in another user namespace sees them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

namespace torpor::resource {

class IdTranslation {
 public:
  struct Range {
    std::uint32_t inside = 0;
    std::uint32_t outside = 0;
    std::uint32_t count = 0;
  };
  // Nothing to translate, and every id exists.
  IdTranslation() : IdTranslation({{0, 0, ~0U}}, {{0, 0, ~0U}}) {}
  // `same`: both are in that namespace, `outside` speaks of its parent.
  IdTranslation(std::vector<Range> uids, std::vector<Range> gids, bool same = false)
      : same_(same), uids_(std::move(uids)), gids_(std::move(gids)) {}
  // Between us and the user namespace that `pid` is in. Throws base::Error.
  static IdTranslation of(pid_t pid);
  // Parses the text of /proc/PID/uid_map or gid_map (user_namespaces(7)).
  static std::vector<Range> parse(std::string_view text, std::string_view file = "uid_map");

  [[nodiscard]] std::uint32_t uid(std::uint32_t ours) const;    // 65534 if it is not mapped
  [[nodiscard]] std::uint32_t gid(std::uint32_t ours) const;    // 65534 if it is not mapped
  [[nodiscard]] std::uint32_t group(std::uint32_t ours) const;  // `ours` if it is not mapped

  // Whether the process can use this id (of its own namespace) at all.
  [[nodiscard]] bool has_uid(std::uint32_t theirs) const { return has(uids_, theirs); }
  [[nodiscard]] bool has_gid(std::uint32_t theirs) const { return has(gids_, theirs); }

 private:
  static bool has(const std::vector<Range>& ranges, std::uint32_t theirs);

  bool same_ = false;
  std::vector<Range> uids_;
  std::vector<Range> gids_;
};

}  // namespace torpor::resource
