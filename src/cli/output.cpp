#include "cli/output.h"

#include <algorithm>
#include <cstdio>

namespace torpor::cli {

void print_line(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
                       std::fputc('\n', stdout) != EOF && std::fflush(stdout) == 0;
  if (!written) base::throw_system("cannot write to standard output");
}

void print_json(const Json& json) { print_line(json.text()); }

void warn(std::string_view text) { fmt::print(stderr, "torpor: warning: {}\n", text); }

void print_error(const base::Error& error, bool json) {
  if (!json) {
    fmt::print(stderr, "torpor: {}\n", error.what());
    if (!error.remedy().empty()) fmt::print(stderr, "  try: {}\n", error.remedy());
    return;
  }
  Json details = Json::object();
  details.set("code", static_cast<int>(error.code()));
  details.set("name", base::error_name(error.code()));
  details.set("what", error.what());
  details.set("remedy", error.remedy());
  print_json(Json::object().set("error", std::move(details)));
}

namespace {

// File names and command lines may hold anything, also what a terminal would obey.
std::string printable(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; }, ' ');
  return text;
}

void trim_end(std::string& line) {
  while (line.ends_with(' ')) line.pop_back();
}

}  // namespace

std::string align(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += fmt::format("{:<{}}", printable(row[i]), i + 1 < row.size() ? widths[i] + 2 : 0);
    }
    trim_end(line);
    text += (text.empty() ? "" : "\n") + line;
  }
  return text;
}

}  // namespace torpor::cli
