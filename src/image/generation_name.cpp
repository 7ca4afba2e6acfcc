#include "image/generation_name.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

namespace torpor::image {

namespace {

constexpr std::string_view partial = ".partial-";
constexpr std::string_view removing = ".removing-";

}  // namespace

std::string partial_name(std::uint64_t generation) {
  return fmt::format("{}{}-{}", partial, generation, ::getpid());
}

std::string removing_name(std::uint64_t generation) {
  return fmt::format("{}{}-{}", removing, generation, ::getpid());
}

std::optional<std::uint64_t> parse_generation(std::string_view name) {
  const bool digits = std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
  if (name.empty() || name.size() > 18 || name.front() == '0' || !digits) return std::nullopt;
  std::uint64_t generation = 0;
  std::from_chars(name.data(), name.data() + name.size(), generation);
  return generation;
}

std::optional<std::uint64_t> parse_hidden(std::string_view name) {
  if (name.starts_with(partial)) {
    name.remove_prefix(partial.size());
  } else if (name.starts_with(removing)) {
    name.remove_prefix(removing.size());
  } else {
    return std::nullopt;
  }
  return parse_generation(name.substr(0, name.find('-')));
}

}  // namespace torpor::image
