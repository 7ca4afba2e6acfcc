#include "cli/man_page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "cli/command_texts.h"

namespace torpor::cli {
namespace {

std::string upper(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return result;
}

std::string header(const std::string& page, const std::string& summary) {
  return fmt::format(".TH {} 1 \"\" \"torpor {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n",
                     upper(page), TORPOR_VERSION, roff(page), roff(summary));
}

std::string paragraphs(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t end = text.find("\n\n");
    result += ".PP\n" + roff(text.substr(0, end)) + "\n";
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 2);
  }
  return result;
}

std::string tagged(const std::string& tag, const std::string& text) {
  return fmt::format(".TP\n.B {}\n{}\n", tag, text);
}

std::string option_entry(const OptionDoc& option) {
  std::string tag = option.positional ? roff(option.value)
                                      : roff(fmt::format("{}", fmt::join(option.names, ", ")));
  if (!option.positional && !option.value.empty()) tag += " \\fI" + roff(option.value) + "\\fR";
  std::string text = option.help;
  if (!option.fallback.empty()) text += fmt::format(" (default: {})", option.fallback);
  return tagged(tag, roff(text));
}

std::string examples(const CommandText& text) {
  if (text.examples.empty()) return {};
  std::string result = ".SH EXAMPLES\n";
  for (const Example& example : text.examples) {
    result += tagged(roff(example.command), roff(example.effect));
  }
  return result;
}

std::string exit_status() {
  std::string result = ".SH EXIT STATUS\n";
  result += tagged("0", "Success.");
  result +=
      tagged("any", roff("of launch and restart: the program's own, or 128+n if signal n ended "
                         "it; of launch also 126 and 127, as a shell has it."));
  for (const ExitCodeText& code : exit_codes()) {
    result += tagged(fmt::format("{}", static_cast<int>(code.code)),
                     roff(fmt::format("{}: {}", base::error_name(code.code), code.text)));
  }
  return result;
}

std::string see_also(std::string_view pages) { return fmt::format(".SH SEE ALSO\n{}\n", pages); }

}  // namespace

std::string roff(std::string_view text) {
  std::string result;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) result += "\\&";
    line_begins = c == '\n';
    switch (c) {
      case '\\': result += "\\e"; break;
      case '-': result += "\\-"; break;
      case '\'': result += "\\(aq"; break;
      case '`': result += "\\(ga"; break;
      case '~': result += "\\(ti"; break;
      case '^': result += "\\(ha"; break;
      default: result += c;
    }
  }
  return result;
}

std::string main_man_page(const std::vector<CommandDoc>& commands) {
  const CommandText& text = text_of("");
  std::string page = header("torpor", text.summary);
  page += ".SH SYNOPSIS\n.B torpor\n\\fICOMMAND\\fR [\\fIARGUMENT\\fR...]\n.SH DESCRIPTION\n";
  page += paragraphs(text.details);
  page += ".SH COMMANDS\n";
  std::string pages;
  for (const CommandDoc& command : commands) {
    page += tagged(roff(command.name), roff(command.summary) + ".");
    pages += fmt::format("{}.BR torpor\\-{} (1)", pages.empty() ? "" : ",\n", roff(command.name));
  }
  page += exit_status();
  for (const Chapter& chapter : chapters()) {
    page += fmt::format(".SH {}\n{}", roff(chapter.title), paragraphs(chapter.text));
  }
  return page + examples(text) + see_also(pages);
}

std::string command_man_page(const CommandDoc& command) {
  const CommandText& text = text_of(command.name);
  std::string page = header("torpor-" + command.name, command.summary);
  page +=
      fmt::format(".SH SYNOPSIS\n{}\n.SH DESCRIPTION\n{}.SH OPTIONS\n", roff(command.synopsis()),
                  paragraphs(text.details.empty() ? text.summary : text.details));
  for (const OptionDoc& option : command.options) page += option_entry(option);
  return page + exit_status() + examples(text) + see_also(".BR torpor (1)");
}

}  // namespace torpor::cli
