// Where images lie: <directory>/<name>/<generation>/. A generation is visible only when all of it
// is on disk, and never again once its removal has begun.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace torpor::image {

// $TORPOR_DIR, else $XDG_STATE_HOME/torpor, else ~/.local/state/torpor. Throws Error usage when
// none of them is known. Creates nothing.
std::filesystem::path default_directory();

// Names of the computations that have at least one generation, sorted. A directory that does not
// exist has none.
std::vector<std::string> computations(const std::filesystem::path& directory);

// The directory of the image that `reference` means: "NAME" (its latest generation), "NAME@GEN",
// or, if it has a '/' in it or is "." or "..", the path of a generation's directory, or that of a
// computation's directory, meaning its latest generation. Throws Error not_found, or usage for a
// malformed reference.
std::filesystem::path resolve(const std::filesystem::path& directory, std::string_view reference);

// Throws Error usage unless `name` can name a computation: 1 to 128 of [A-Za-z0-9._+-], of which
// the first is neither '.' nor '-'.
void check_name(std::string_view name);

// The generations of one computation.
class Store {
 public:
  // Creates nothing. Throws as check_name does.
  Store(std::filesystem::path directory, std::string name);

  [[nodiscard]] const std::string& name() const { return name_; }
  // <directory>/<name>
  [[nodiscard]] std::filesystem::path path() const { return directory_ / name_; }
  [[nodiscard]] std::filesystem::path path_of(std::uint64_t generation) const;

  // The visible ones, ascending. None if there is no such directory.
  [[nodiscard]] std::vector<std::uint64_t> generations() const;
  [[nodiscard]] std::optional<std::uint64_t> latest() const;
  // Larger than every generation that is visible or being written.
  [[nodiscard]] std::uint64_t next_generation() const;

  // Removes all generations older than the newest `count` (>= 1, else Error usage) sound ones.
  // Sound: the manifest is readable and every file has its size. Damaged ones do not count, so that
  // a good one never goes for a bad one's sake; nothing is removed if there are fewer than `count`
  // sound ones. Generations that are in use are skipped. Returns the removed ones.
  std::vector<std::uint64_t> keep_latest(std::size_t count);

  // Removes one generation. False if it is in use or was removed meanwhile. Throws Error not_found.
  bool remove(std::uint64_t generation);

  // Removes what dead writers and interrupted removals left behind. Never waits. Returns how many.
  std::size_t remove_leftovers();

  // Makes the computation's directory, and those above it that are missing, 0700. Throws Error io,
  // or permission if it belongs to somebody else.
  void create_directory() const;

 private:
  // Renames and removes <name>, a directory that nobody uses. False if somebody does.
  bool remove_directory(const std::string& name, std::uint64_t generation) const;

  std::filesystem::path directory_;
  std::string name_;
};

}  // namespace torpor::image
