// JSON for scripts that read our output.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace torpor::cli {

// A value that can be built up and written out. Objects keep the order in which members were set.
class Json {
 public:
  Json() = default;  // null
  Json(bool value) : value_(value) {}
  template <std::signed_integral T>
  Json(T value) : value_(static_cast<std::int64_t>(value)) {}
  template <std::unsigned_integral T>
  requires(!std::same_as<T, bool>) Json(T value) : value_(static_cast<std::uint64_t>(value)) {}
  Json(double value) : value_(value) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(const char* value) : value_(std::string(value)) {}

  static Json object();
  static Json array();

  // Of an object; the key must not have been set before. Returns itself.
  Json& set(std::string key, Json value);
  // Of an array.
  Json& push(Json value);

  // Indented by two blanks per level. Text that is not UTF-8 (file names may be anything) has
  // U+FFFD in place of each wrong byte, so that the result is always valid JSON.
  [[nodiscard]] std::string text() const;

 private:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  void write(std::string& into, std::size_t depth) const;
  static void write_members(std::string& into, std::size_t depth, const Array& array);
  static void write_members(std::string& into, std::size_t depth, const Object& object);

  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, Array,
               Object>
      value_;
};

// In quotation marks, escaped.
std::string json_quote(std::string_view text);

}  // namespace torpor::cli
