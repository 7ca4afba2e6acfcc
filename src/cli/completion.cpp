#include "cli/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace torpor::cli {
namespace {

// What a value is, as far as a shell can help with it.
enum class Kind { nothing, choice, directory, file, running, stored, process, program };

Kind kind_of(const OptionDoc& option) {
  if (!option.choices().empty()) return Kind::choice;
  if (option.value == "DIR") return Kind::directory;
  if (option.value == "FILE") return Kind::file;
  if (option.value == "PID") return Kind::process;
  if (option.value == "CMD...") return Kind::program;
  if (option.value == "NAME|PID" || option.value == "PID|NAME|IMAGE") return Kind::running;
  if (option.value.starts_with("IMAGE|NAME")) return Kind::stored;
  // A name that an option gives is a new one; a word of its own is one that there is.
  return option.positional && option.value == "NAME" ? Kind::stored : Kind::nothing;
}

std::string words(const std::vector<std::string>& list) {
  return fmt::format("{}", fmt::join(list, " "));
}

std::vector<const OptionDoc*> positionals(const CommandDoc& command) {
  std::vector<const OptionDoc*> found;
  for (const OptionDoc& option : command.options) {
    if (option.positional) found.push_back(&option);
  }
  return found;
}

// Inside of '...' in any of the shells.
std::string in_quotes(std::string_view text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

// ------------------------------------------------------------------------------- bash

std::string bash_words(const OptionDoc& option) {
  switch (kind_of(option)) {
    case Kind::choice: return fmt::format("compgen -W '{}' -- \"$word\"", words(option.choices()));
    case Kind::directory: return "compgen -d -- \"$word\"";
    case Kind::file: return "compgen -f -- \"$word\"";
    case Kind::running: return "compgen -W \"$(torpor docs running 2>/dev/null)\" -- \"$word\"";
    case Kind::stored:
      return "compgen -W \"$(torpor docs stored 2>/dev/null)\" -- \"$word\"; compgen -d -- "
             "\"$word\"";
    case Kind::process: return "compgen -W \"$(ps -u $EUID -o pid= 2>/dev/null)\" -- \"$word\"";
    default: return ":";
  }
}

std::string bash_case(const CommandDoc& command) {
  std::string names;
  std::string values;
  for (const OptionDoc& option : command.options) {
    if (option.positional) continue;
    names += words(option.names) + " ";
    if (option.value.empty()) continue;
    values +=
        fmt::format("      {}) {}; return ;;\n", fmt::join(option.names, "|"), bash_words(option));
  }
  std::string text = fmt::format("    {})\n", command.name);
  if (!values.empty()) text += fmt::format("      case $before in\n{}      esac\n", values);
  text += fmt::format(
      "      [[ $word == -* ]] && {{ compgen -W '{}' -- \"$word\"; return; }}\n      case $place "
      "in\n",
      names);
  std::size_t place = 0;
  for (const OptionDoc* option : positionals(command)) {
    text += fmt::format("      {}) {} ;;\n", place++, bash_words(*option));
  }
  return text + "      esac ;;\n";
}

// Options that take the word after them: it is not to be counted as one of the command's own.
std::string options_with_value(const std::vector<CommandDoc>& commands) {
  std::vector<std::string> names;
  for (const CommandDoc& command : commands) {
    for (const OptionDoc& option : command.options) {
      if (option.positional || option.value.empty()) continue;
      if (std::ranges::find(names, option.names.back()) == names.end()) {
        names.push_back(option.names.back());
      }
    }
  }
  return fmt::format("{}", fmt::join(names, "|"));
}

// ------------------------------------------------------------------------------- zsh

// Of the description in an _arguments specification: these have a meaning there.
std::string zsh_escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string zsh_action(const OptionDoc& option) {
  switch (kind_of(option)) {
    case Kind::choice: return "(" + words(option.choices()) + ")";
    case Kind::directory: return "_files -/";
    case Kind::file: return "_files";
    case Kind::running: return "_torpor_names running";
    case Kind::stored: return "_torpor_names stored";
    case Kind::process: return "_pids";
    case Kind::program: return "_normal";
    default: return " ";
  }
}

std::string zsh_specification(const OptionDoc& option) {
  const std::string value = fmt::format(":{}:{}", zsh_escaped(option.value), zsh_action(option));
  if (option.positional) {
    const bool program = kind_of(option) == Kind::program;
    return in_quotes((program ? "*:" : (option.required ? "" : ":")) + value);
  }
  std::string entries;
  for (const std::string& name : option.names) {
    entries += (entries.empty() ? "" : " ") +
               in_quotes(fmt::format("{}[{}]{}", name, zsh_escaped(option.help),
                                     option.value.empty() ? "" : value));
  }
  return entries;
}

// ------------------------------------------------------------------------------- fish

std::string fish_values(const OptionDoc& option) {
  switch (kind_of(option)) {
    case Kind::choice: return " -a " + in_quotes(words(option.choices()));
    case Kind::directory: return " -a '(__fish_complete_directories)'";
    case Kind::file: return " -F";
    case Kind::running: return " -a '(torpor docs running 2>/dev/null)'";
    case Kind::stored: return " -F -a '(torpor docs stored 2>/dev/null)'";
    case Kind::process: return " -a '(__fish_complete_pids)'";
    case Kind::program: return " -a '(__fish_complete_subcommand)'";
    default: return "";
  }
}

std::string fish_line(const CommandDoc& command, const OptionDoc& option) {
  std::string line =
      fmt::format("complete -c torpor -n '__fish_seen_subcommand_from {}'", command.name);
  for (const std::string& name : option.names) {
    if (option.positional) continue;
    line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  }
  if (!option.positional && !option.value.empty()) line += " -x";
  return line + fish_values(option) + " -d " + in_quotes(option.help) + "\n";
}

}  // namespace

std::string bash_completion(const std::vector<CommandDoc>& commands) {
  std::vector<std::string> names;
  std::string cases;
  for (const CommandDoc& command : commands) {
    names.push_back(command.name);
    cases += bash_case(command);
  }
  return fmt::format(R"bash(# bash completion for torpor

# What may stand for the word. `place` is how many words of the command's own are before it.
_torpor_words() {{
  local command=$1 before=$2 word=$3 place=$4
  case $command in
{}  esac
}}

_torpor() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
  local command=${{COMP_WORDS[1]}} place=0 i
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W '{} --help' -- "$word")
    return
  fi
  for ((i = 2; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i]}} in
      {}) ((i++)) ;;
      -?*) [[ ${{COMP_WORDS[i]}} == -- && $command == launch ]] && place=1 ;;
      *) ((place++)) ;;
    esac
    # The program of launch completes for itself.
    if [[ $command == launch ]] && ((place > 0)) && declare -F _command_offset >/dev/null; then
      [[ ${{COMP_WORDS[i]}} == -- ]] && ((i++))
      _command_offset $i
      return
    fi
  done
  mapfile -t COMPREPLY < <(_torpor_words "$command" "$before" "$word" "$place")
}}
complete -o filenames -o bashdefault -F _torpor torpor
)bash",
                     cases, words(names), options_with_value(commands));
}

std::string zsh_completion(const std::vector<CommandDoc>& commands) {
  std::string list;
  std::string cases;
  for (const CommandDoc& command : commands) {
    list += fmt::format("    {}\n", in_quotes(command.name + ":" + command.summary));
    cases += fmt::format("    {})\n      _arguments -s", command.name);
    for (const OptionDoc& option : command.options) {
      cases += " \\\n        " + zsh_specification(option);
    }
    cases += " ;;\n";
  }
  return fmt::format(R"zsh(#compdef torpor

_torpor_names() {{
  local -a names
  names=(${{(f)"$(torpor docs $1 2>/dev/null)"}})
  compadd -a names
  [[ $1 == stored ]] && _files -/
}}

_torpor() {{
  local -a commands
  commands=(
{}  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
{}  esac
}}

_torpor "$@"
)zsh",
                     list, cases);
}

std::string fish_completion(const std::vector<CommandDoc>& commands) {
  std::string text = "# fish completion for torpor\ncomplete -c torpor -f\n";
  for (const CommandDoc& command : commands) {
    text += fmt::format("complete -c torpor -n __fish_use_subcommand -a {} -d {}\n", command.name,
                        in_quotes(command.summary));
    for (const OptionDoc& option : command.options) text += fish_line(command, option);
  }
  return text;
}

}  // namespace torpor::cli
