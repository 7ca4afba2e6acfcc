// Where supervisors are found: a directory of the user with one socket per running computation.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace torpor::supervisor {

// A socket's address must fit into sockaddr_un; see NameClaim::socket_address.
inline constexpr std::size_t max_name_length = 80;

// $XDG_RUNTIME_DIR/torpor where that variable names a directory of ours, else /tmp/torpor-<uid>.
std::filesystem::path runtime_directory();

// Opens it, and makes it (0700) if need be. Throws Error permission when it is not a directory that
// belongs to us alone: somebody else may have put it into /tmp.
base::UniqueFd open_runtime_directory(const std::filesystem::path& path);

// The names with a socket, sorted; their supervisors may be dead. None if there is no directory.
std::vector<std::string> socket_names(const std::filesystem::path& path);

// The path of a socket below an open directory. It is short however long the directory's own is.
std::string socket_address(int directory_fd, std::string_view name);

// A name that no other supervisor of this user has, as long as this object lives. What a dead one
// left behind under the name is removed.
class NameClaim {
 public:
  // Takes exactly this name. Throws Error conflict if a running computation has it, usage if it
  // cannot be a name.
  static NameClaim exactly(const std::filesystem::path& directory, const std::string& name);

  // Takes `base`, else `base`-2, -3 ... Passes over the names in `avoid`.
  static NameClaim unique(const std::filesystem::path& directory, const std::string& base,
                          const std::vector<std::string>& avoid);

  NameClaim(NameClaim&&) noexcept = default;
  NameClaim& operator=(NameClaim&&) = delete;
  ~NameClaim();

  [[nodiscard]] const std::string& name() const { return name_; }
  // The address to listen at.
  [[nodiscard]] std::string socket_address() const;

 private:
  NameClaim(base::UniqueFd directory, base::UniqueFd lock, std::string name);
  static base::UniqueFd try_lock(int directory_fd, const std::string& name);

  base::UniqueFd directory_;
  base::UniqueFd lock_;
  std::string name_;
};

}  // namespace torpor::supervisor
