#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "image/generation_name.h"
#include "image/manifest_io.h"
#include "image/store.h"

namespace torpor::image {

using base::Error;
using base::ErrorCode;
namespace fs = std::filesystem;

namespace {

std::string environment(const char* variable) {
  const char* value = ::secure_getenv(variable);
  return value != nullptr ? value : "";
}

fs::path home() {
  if (const std::string home = environment("HOME"); home.starts_with('/')) return home;
  const passwd* user = ::getpwuid(::geteuid());
  if (user != nullptr && user->pw_dir != nullptr && user->pw_dir[0] == '/') return user->pw_dir;
  throw Error(ErrorCode::usage, "there is no directory for images: HOME is not set",
              "choose one with --dir or TORPOR_DIR");
}

[[noreturn]] void no_image(const fs::path& path) {
  throw Error(ErrorCode::not_found, fmt::format("{} is no image", path.native()),
              "give the directory of a generation, a computation's directory, or NAME or NAME@GEN");
}

// Ends with the component that names something: "a/b/" is "a/b".
fs::path without_slash_at_end(const fs::path& path) {
  return path.has_filename() || !path.has_relative_path() ? path : path.parent_path();
}

fs::path resolve_path(const fs::path& given) {
  std::error_code unknown;
  fs::path path = without_slash_at_end(fs::absolute(given).lexically_normal());
  if (fs::exists(path / manifest_name, unknown)) return path;
  if (!fs::is_directory(path, unknown) || !path.has_filename()) no_image(path);
  const std::string name = path.filename();
  if (name.front() == '.' || name.front() == '-' || parse_generation(name)) no_image(path);
  const Store store(path.parent_path(), name);
  const auto latest = store.latest();
  if (!latest) no_image(path);
  return store.path_of(*latest);
}

std::uint64_t generation_in(std::string_view reference, std::string_view text) {
  if (const auto generation = parse_generation(text)) return *generation;
  throw Error(ErrorCode::usage, fmt::format("\"{}\" names no generation", reference),
              "write NAME@GEN, where GEN is a number from 1 on");
}

}  // namespace

fs::path default_directory() {
  if (const std::string own = environment("TORPOR_DIR"); !own.empty()) return fs::absolute(own);
  if (const std::string state = environment("XDG_STATE_HOME"); state.starts_with('/')) {
    return fs::path(state) / "torpor";
  }
  return home() / ".local/state/torpor";
}

fs::path resolve(const fs::path& directory, std::string_view reference) {
  if (reference.find('/') != std::string_view::npos || reference == "." || reference == "..") {
    return resolve_path(reference);
  }
  const std::size_t at = reference.find('@');
  const Store store(directory, std::string(reference.substr(0, at)));
  const auto wanted = at == std::string_view::npos
                          ? store.latest()
                          : std::optional(generation_in(reference, reference.substr(at + 1)));
  std::error_code unknown;
  if (wanted && fs::is_directory(store.path_of(*wanted), unknown)) return store.path_of(*wanted);
  throw Error(ErrorCode::not_found,
              fmt::format("there is no image {} in {}", reference, directory.native()),
              "`torpor ps` lists what there is; --dir or TORPOR_DIR chooses another directory");
}

}  // namespace torpor::image
