#include "cli/docs_model.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <sstream>

#include "cli/app.h"

namespace torpor::cli {
namespace {

std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  if (names.empty()) names.push_back(option.get_name(true));
  return names;
}

OptionDoc describe(const CLI::Option& option) {
  OptionDoc doc;
  doc.names = names_of(option);
  doc.positional = option.get_positional();
  doc.required = option.get_required();
  if (option.get_items_expected_max() > 0) doc.value = option.get_type_name();
  doc.fallback = option.get_default_str();
  doc.help = option.get_description();
  return doc;
}

CommandDoc describe(const CLI::App& command) {
  CommandDoc doc{command.get_name(), command.get_description(), {}};
  for (const CLI::Option* option : command.get_options({}))
    doc.options.push_back(describe(*option));
  return doc;
}

}  // namespace

std::vector<std::string> OptionDoc::choices() const {
  const bool words = value.find('|') != std::string::npos && std::ranges::all_of(value, [](char c) {
                       return c == '|' || (c >= 'a' && c <= 'z');
                     });
  std::vector<std::string> choices;
  std::istringstream stream(words ? value : "");
  for (std::string word; std::getline(stream, word, '|');) choices.push_back(word);
  return choices;
}

std::string CommandDoc::synopsis() const {
  std::string line = "torpor " + name;
  for (const OptionDoc& option : options) {
    if (option.positional || option.names.front() == "-h") continue;
    line +=
        fmt::format(" [{}{}]", option.names.back(), option.value.empty() ? "" : " " + option.value);
  }
  for (const OptionDoc& option : options) {
    if (!option.positional) continue;
    const std::string word = (option.value == "CMD..." ? "[--] " : "") + option.value;
    line += option.required ? " " + word : " [" + word + "]";
  }
  return line;
}

std::vector<CommandDoc> describe_commands() {
  Parsed parsed;
  const std::unique_ptr<CLI::App> app = build_app(parsed);
  std::vector<CommandDoc> docs;
  for (const CLI::App* command : app->get_subcommands({})) {
    if (!command->get_group().empty()) docs.push_back(describe(*command));
  }
  return docs;
}

}  // namespace torpor::cli
