#include "cli/run.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdio>

#include "cli/app.h"
#include "cli/output.h"
#include "supervisor/standard_streams.h"

namespace torpor::cli {
namespace {

bool wants_json(const std::vector<std::string>& arguments) {
  const bool runs_program =
      !arguments.empty() && arguments.front() == "launch";  // whose own it may be
  return !runs_program && std::ranges::find(arguments, "--json") != arguments.end();
}

// The command that the user was after, for a hint.
std::string command_in(const CLI::App& app) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  return chosen.empty() ? "" : chosen.front()->get_name() + " ";
}

void check_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    throw base::Error(base::ErrorCode::usage, "which command?", "torpor --help");
  }
  const std::string& command = arguments.front();
  const auto has_that_name = [&](const CLI::App* one) { return one->get_name() == command; };
  if (command.starts_with('-') || !app.get_subcommands(has_that_name).empty()) return;
  throw base::Error(base::ErrorCode::usage, fmt::format("there is no command '{}'", command),
                    "torpor --help");
}

void parse(CLI::App& app, const std::vector<std::string>& arguments) {
  check_command(app, arguments);
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants it
  try {
    app.parse(reversed);
  } catch (const CLI::Success&) {
    throw;  // --help
  } catch (const CLI::ParseError& error) {
    throw base::Error(base::ErrorCode::usage, error.what(),
                      fmt::format("torpor {}--help", command_in(app)));
  }
}

int parse_and_act(std::vector<std::string> arguments) {
  Parsed parsed;
  const std::unique_ptr<CLI::App> app = build_app(parsed);
  SplitArguments split = split_arguments(*app, std::move(arguments));
  // CLI11 is to see that there is a program, but none of the program's own options.
  if (!split.program.empty()) split.ours.insert(split.ours.end(), {"--", "program"});
  try {
    parse(*app, split.ours);
  } catch (const CLI::Success& help) {
    return app->exit(help);
  }
  parsed.launch.command = std::move(split.program);
  return parsed.action();
}

}  // namespace

int run(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    supervisor::hold_standard_streams();
    return parse_and_act(arguments);
  } catch (const base::Error& error) {
    print_error(error, wants_json(arguments));
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    print_error({base::ErrorCode::internal, error.what(), "please report this"},
                wants_json(arguments));
    return static_cast<int>(base::ErrorCode::internal);
  }
}

}  // namespace torpor::cli
