// The description of the command line. Parsing, --help, man pages and shell completion all come
// from it, together with the texts in command_texts.h.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace torpor::cli {

// What parsing fills in.
struct Parsed {
  LaunchArguments launch;
  AttachArguments attach;
  PsArguments ps;
  CheckpointArguments checkpoint;
  RestartArguments restart;
  CheckArguments check;
  InspectArguments inspect;
  VerifyArguments verify;
  PruneArguments prune;
  VersionArguments version;
  DocsArguments docs;

  std::function<int()> action;  // the command that was chosen
};

// `parsed` must outlive the app.
std::unique_ptr<CLI::App> build_app(Parsed& parsed);

// The arguments of `launch`, cut in two: those of torpor, and the words of the program that follow
// the first word that is no option, or "--". Nothing is cut off if the command is another one.
struct SplitArguments {
  std::vector<std::string> ours;
  std::vector<std::string> program;
};
SplitArguments split_arguments(const CLI::App& app, std::vector<std::string> arguments);

}  // namespace torpor::cli
