#include "cli/json.h"

#include <fmt/format.h>

#include <cmath>

namespace torpor::cli {
namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd";  // U+FFFD

std::size_t continuation_bytes(unsigned char lead) {
  if (lead >= 0xc2 && lead <= 0xdf) return 1;
  if (lead >= 0xe0 && lead <= 0xef) return 2;
  if (lead >= 0xf0 && lead <= 0xf4) return 3;
  return 0;
}

// Overlong forms, surrogates and what lies beyond U+10FFFF show in the second byte.
bool second_byte_fits(unsigned char lead, unsigned char second) {
  switch (lead) {
    case 0xe0: return second >= 0xa0 && second <= 0xbf;
    case 0xed: return second >= 0x80 && second <= 0x9f;
    case 0xf0: return second >= 0x90 && second <= 0xbf;
    case 0xf4: return second >= 0x80 && second <= 0x8f;
    default: return second >= 0x80 && second <= 0xbf;
  }
}

// Length of the UTF-8 character beyond ASCII at the start of `text`; 0 if there is none.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t more = continuation_bytes(byte(0));
  if (more == 0 || text.size() <= more || !second_byte_fits(byte(0), byte(1))) return 0;
  for (std::size_t i = 2; i <= more; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return more + 1;
}

std::string escape(char c) {
  switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: return fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
  }
}

}  // namespace

std::string json_quote(std::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const char c = text.front();
    std::size_t taken = 1;
    if (c == '"' || c == '\\' || (c >= 0 && c < 0x20) || c == 0x7f) {
      quoted += escape(c);
    } else if (c > 0) {
      quoted += c;
    } else if (const std::size_t length = character_length(text); length > 0) {
      quoted += text.substr(0, length);
      taken = length;
    } else {
      quoted += replacement;
    }
    text.remove_prefix(taken);
  }
  return quoted + '"';
}

Json Json::object() {
  Json json;
  json.value_ = Object{};
  return json;
}

Json Json::array() {
  Json json;
  json.value_ = Array{};
  return json;
}

Json& Json::set(std::string key, Json value) {
  std::get<Object>(value_).emplace_back(std::move(key), std::move(value));
  return *this;
}

Json& Json::push(Json value) {
  std::get<Array>(value_).push_back(std::move(value));
  return *this;
}

void Json::write_members(std::string& into, std::size_t depth, const Array& array) {
  const char* separator = "\n";
  for (const Json& member : array) {
    into += std::exchange(separator, ",\n") + std::string(2 * depth + 2, ' ');
    member.write(into, depth + 1);
  }
}

void Json::write_members(std::string& into, std::size_t depth, const Object& object) {
  const char* separator = "\n";
  for (const auto& [key, member] : object) {
    into += std::exchange(separator, ",\n") + std::string(2 * depth + 2, ' ');
    into += json_quote(key) + ": ";
    member.write(into, depth + 1);
  }
}

void Json::write(std::string& into, std::size_t depth) const {
  const auto enclose = [&](char open, const auto& members, char close) {
    into += open;
    write_members(into, depth, members);
    if (!members.empty()) into += "\n" + std::string(2 * depth, ' ');
    into += close;
  };
  if (const auto* flag = std::get_if<bool>(&value_)) into += *flag ? "true" : "false";
  if (const auto* number = std::get_if<std::int64_t>(&value_)) into += fmt::format("{}", *number);
  if (const auto* number = std::get_if<std::uint64_t>(&value_)) into += fmt::format("{}", *number);
  if (const auto* number = std::get_if<double>(&value_)) {
    into += std::isfinite(*number) ? fmt::format("{}", *number) : "null";
  }
  if (const auto* text = std::get_if<std::string>(&value_)) into += json_quote(*text);
  if (const auto* array = std::get_if<Array>(&value_)) enclose('[', *array, ']');
  if (const auto* object = std::get_if<Object>(&value_)) enclose('{', *object, '}');
  if (std::holds_alternative<std::monostate>(value_)) into += "null";
}

std::string Json::text() const {
  std::string text;
  write(text, 0);
  return text;
}

}  // namespace torpor::cli
