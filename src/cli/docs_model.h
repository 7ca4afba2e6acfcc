// The command line as its documentation needs it: taken out of the very app that parses it.
#pragma once

#include <string>
#include <vector>

namespace torpor::cli {

struct OptionDoc {
  std::vector<std::string> names;  // "--json", "-h"; of a positional one its name without dashes
  bool positional = false;
  bool required = false;
  std::string value;     // what is to be given, "DIR", "man|bash"; empty for a flag
  std::string fallback;  // what is taken if it is not given
  std::string help;

  // The words among which one can choose; empty if the value is anything else.
  [[nodiscard]] std::vector<std::string> choices() const;
};

struct CommandDoc {
  std::string name;
  std::string summary;
  std::vector<OptionDoc> options;  // in the order of --help

  [[nodiscard]] std::string synopsis() const;  // "torpor ps [--json]"
};

// All commands but hidden ones.
std::vector<CommandDoc> describe_commands();

}  // namespace torpor::cli
