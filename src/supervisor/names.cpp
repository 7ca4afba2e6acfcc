#include "supervisor/names.h"

#include <algorithm>

namespace torpor::supervisor {
namespace {

constexpr std::size_t max_length = 60;

bool may_stand_in_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("._+-").find(c) != std::string_view::npos;
}

}  // namespace

std::string base_name(std::string_view program) {
  while (program.ends_with('/')) program.remove_suffix(1);
  program.remove_prefix(program.rfind('/') + 1);  // npos + 1 is 0
  while (program.starts_with('.') || program.starts_with('-')) program.remove_prefix(1);
  std::string name(program.substr(0, max_length));
  std::ranges::replace_if(
      name, [](char c) { return !may_stand_in_name(c); }, '_');
  return name.empty() ? "program" : name;
}

}  // namespace torpor::supervisor
