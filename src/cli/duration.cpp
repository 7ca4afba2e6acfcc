#include "cli/duration.h"

#include <array>
#include <charconv>
#include <cstdint>

#include "base/error.h"

namespace torpor::cli {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t milliseconds;
};
// "ms" before "m": the first that fits is taken.
constexpr std::array units{Unit{"ms", 1}, Unit{"s", 1000}, Unit{"m", 60'000}, Unit{"h", 3'600'000},
                           Unit{"d", 86'400'000}};
constexpr std::int64_t longest = 3650 * std::int64_t{86'400'000};

[[noreturn]] void refuse(std::string_view text) {
  throw base::Error(base::ErrorCode::usage, fmt::format("'{}' is not a span of time", text),
                    "write it like 30s, 10m, 1h30m or 2d");
}

std::int64_t take_number(std::string_view& rest, std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc() || value < 0 || value > longest) refuse(text);
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  return value;
}

std::int64_t take_unit(std::string_view& rest, std::string_view text) {
  for (const Unit& unit : units) {
    if (!rest.starts_with(unit.name)) continue;
    rest.remove_prefix(unit.name.size());
    return unit.milliseconds;
  }
  refuse(text);
}

}  // namespace

std::chrono::milliseconds parse_duration(std::string_view text) {
  std::int64_t total = 0;
  std::string_view rest = text;
  do {
    const std::int64_t value = take_number(rest, text);
    const bool bare = rest.empty() && total == 0;
    const std::int64_t unit = bare ? 1000 : take_unit(rest, text);
    if (value > longest / unit) refuse(text);
    total += value * unit;
    if (total > longest) refuse(text);
  } while (!rest.empty());
  if (total == 0) refuse(text);
  return std::chrono::milliseconds(total);
}

}  // namespace torpor::cli
