// What there is to say about the commands beyond the names of their options: for --help and the man
// pages.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace torpor::cli {

struct Example {
  std::string_view command;
  std::string_view effect;
};

struct CommandText {
  std::string_view name;     // "" is torpor itself
  const char* summary;       // one line, no full stop
  std::string_view details;  // paragraphs, an empty line between them
  std::span<const Example> examples;

  [[nodiscard]] std::string examples_for_help() const;
};

// Throws Error internal for a command without a text: every command has one.
const CommandText& text_of(std::string_view command);

// What else a man page has to tell: titled paragraphs, of the page of torpor itself.
struct Chapter {
  std::string_view title;
  std::string_view text;
};
std::span<const Chapter> chapters();

// What the exit codes mean: all of them, in order.
struct ExitCodeText {
  base::ErrorCode code;
  std::string_view text;
};
std::span<const ExitCodeText> exit_codes();

}  // namespace torpor::cli
