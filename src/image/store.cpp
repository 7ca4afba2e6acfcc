#include "image/store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "image/directory_lock.h"
#include "image/file_io.h"
#include "image/generation_name.h"
#include "image/image_reader.h"

namespace torpor::image {

using base::Error;
using base::ErrorCode;
namespace fs = std::filesystem;

namespace {

// Names in a directory; none if it does not exist. Throws Error io or permission.
std::vector<std::string> names_in(const fs::path& directory) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    base::throw_errno(error.value(), fmt::format("reading the directory {}", directory.native()));
  }
  return names;
}

bool is_name(std::string_view name) {
  constexpr std::string_view allowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";
  return !name.empty() && name.size() <= 128 && name.front() != '.' && name.front() != '-' &&
         name.find_first_not_of(allowed) == std::string_view::npos;
}

bool is_sound(const fs::path& image) {
  try {
    (void)Image::open(image);
    return true;
  } catch (const Error& error) {
    const bool damaged = error.code() == ErrorCode::bad_image;
    const bool going = error.code() == ErrorCode::not_found || error.code() == ErrorCode::conflict;
    if (damaged || going) return false;
    throw;  // unreadable for another reason: nothing may be concluded, and nothing removed
  }
}

}  // namespace

void check_name(std::string_view name) {
  if (is_name(name)) return;
  throw Error(ErrorCode::usage, fmt::format("\"{}\" cannot be the name of a computation", name),
              "use 1 to 128 letters, digits and . _ + -, with a letter or digit first");
}

std::vector<std::string> computations(const fs::path& directory) {
  std::vector<std::string> found;
  for (std::string& name : names_in(directory)) {
    std::error_code unknown;
    if (!is_name(name) || !fs::is_directory(directory / name, unknown)) continue;
    if (Store(directory, name).latest()) found.push_back(std::move(name));
  }
  std::ranges::sort(found);
  return found;
}

Store::Store(fs::path directory, std::string name)
    : directory_(std::move(directory)), name_(std::move(name)) {
  check_name(name_);
}

fs::path Store::path_of(std::uint64_t generation) const {
  return path() / std::to_string(generation);
}

std::vector<std::uint64_t> Store::generations() const {
  std::vector<std::uint64_t> found;
  for (const std::string& name : names_in(path())) {
    std::error_code unknown;
    const auto generation = parse_generation(name);
    if (generation && fs::is_directory(path() / name, unknown)) found.push_back(*generation);
  }
  std::ranges::sort(found);
  return found;
}

std::optional<std::uint64_t> Store::latest() const {
  const std::vector<std::uint64_t> all = generations();
  if (all.empty()) return std::nullopt;
  return all.back();
}

std::uint64_t Store::next_generation() const {
  std::uint64_t last = latest().value_or(0);
  for (const std::string& name : names_in(path())) {
    last = std::max(last, parse_hidden(name).value_or(0));
  }
  return last + 1;
}

bool Store::remove_directory(const std::string& name, std::uint64_t generation) const {
  const auto lock = DirectoryLock::try_exclusive(path() / name);
  if (!lock) return false;
  fs::path doomed = path() / removing_name(generation);
  // A name that an earlier process with our pid left: find one that is free.
  for (int n = 1; fs::exists(fs::symlink_status(doomed)); ++n) {
    doomed = path() / fmt::format("{}-{}", removing_name(generation), n);
  }
  if (::rename((path() / name).c_str(), doomed.c_str()) != 0) {
    base::throw_system("renaming {} to remove it", (path() / name).native());
  }
  std::error_code error;
  fs::remove_all(doomed, error);
  if (error) base::throw_errno(error.value(), fmt::format("removing {}", doomed.native()));
  return true;
}

bool Store::remove(std::uint64_t generation) {
  if (!fs::exists(path_of(generation))) {
    throw Error(ErrorCode::not_found,
                fmt::format("{} has no generation {}", path().native(), generation));
  }
  return remove_directory(std::to_string(generation), generation);
}

std::vector<std::uint64_t> Store::keep_latest(std::size_t count) {
  if (count == 0) throw Error(ErrorCode::usage, "at least one generation has to be kept");
  std::vector<std::uint64_t> removed;
  std::size_t kept = 0;
  std::vector<std::uint64_t> newest_first = generations();
  std::ranges::reverse(newest_first);
  for (const std::uint64_t generation : newest_first) {
    if (kept < count) {
      if (is_sound(path_of(generation))) ++kept;
    } else if (remove_directory(std::to_string(generation), generation)) {
      removed.push_back(generation);
    }
  }
  return removed;
}

std::size_t Store::remove_leftovers() {
  std::size_t removed = 0;
  for (const std::string& name : names_in(path())) {
    const auto generation = parse_hidden(name);
    if (generation && remove_directory(name, *generation)) ++removed;
  }
  return removed;
}

void Store::create_directory() const {
  make_directories(path());
  struct stat status {};
  if (::stat(path().c_str(), &status) != 0) base::throw_system("looking at {}", path().native());
  if (status.st_uid == ::geteuid() || ::geteuid() == 0) return;
  throw Error(ErrorCode::permission,
              fmt::format("the directory {} belongs to user {}", path().native(), status.st_uid),
              "choose another directory with --dir, or another name");
}

}  // namespace torpor::image
