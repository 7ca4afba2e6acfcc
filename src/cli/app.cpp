#include "cli/app.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "cli/command_texts.h"

namespace torpor::cli {
namespace {

// CLI11 names the values of options by their type; ours say what they mean.
CLI::Option* option(CLI::App* command, const std::string& name, auto& value,
                    const std::string& help, const std::string& meaning) {
  return command->add_option(name, value, help)->type_name(meaning);
}

void add_dir(CLI::App* command, std::string& directory) {
  option(command, "--dir", directory,
         "image store (else $TORPOR_DIR, $XDG_STATE_HOME/torpor, ~/.local/state/torpor)", "DIR");
}

void add_json(CLI::App* command, bool& json) {
  command->add_flag("--json", json, "print JSON, also for errors");
}

void add_keep(CLI::App* command, unsigned& keep, const std::string& help) {
  option(command, "--keep", keep, help, "N")
      ->check(CLI::Range(1u, 1'000'000u).description(""))
      ->capture_default_str();
}

// Of the commands that stand by a program.
void add_policy(CLI::App* command, auto& arguments) {
  add_dir(command, arguments.directory);
  option(command, "--interval", arguments.interval,
         "take a checkpoint every so often, such as 30s, 10m or 1h30m", "TIME");
  add_keep(command, arguments.keep, "generations to keep; older ones are removed");
}

// One of a few words, each of which stands for something.
template <typename Value>
CLI::Option* add_choice(CLI::App* command, const std::string& name, Value& value,
                        const std::map<std::string, Value>& choices, const std::string& help,
                        const std::string& words) {
  const auto choose = [&value, choices](const std::string& word) { value = choices.at(word); };
  return command->add_option_function<std::string>(name, choose, help)
      ->check(CLI::IsMember(choices).description(""))
      ->type_name(words);
}

void add_identity(CLI::App* command, restart::Identity& identity, bool& accept_changed_files) {
  add_choice(command, "--identity", identity,
             {{"auto", restart::Identity::automatic},
              {"host", restart::Identity::host},
              {"namespace", restart::Identity::name_space},
              {"table", restart::Identity::table}},
             "where the program gets its process ids back: in a namespace of its own, on the host "
             "itself, or by a table in the wrapped mode",
             "auto|host|namespace|table")
      ->default_str("auto");
  command->add_flag("--accept-changed-files", accept_changed_files,
                    "go on although files have changed since the checkpoint");
}

CLI::App* add_command(CLI::App& app, const std::string& name, Parsed& parsed,
                      std::function<int()> action) {
  CLI::App* command = app.add_subcommand(name, text_of(name).summary);
  command->callback([&parsed, action = std::move(action)] { parsed.action = action; });
  return command;
}

void add_mode(CLI::App* command, LaunchArguments& arguments) {
  add_choice(command, "--mode", arguments.mode,
             {{"auto", supervisor::Mode::automatic},
              {"external", supervisor::Mode::external},
              {"wrapped", supervisor::Mode::wrapped}},
             "how checkpoints stop the program: from outside, or by an agent of ours in it; auto "
             "takes the first where the host allows ptrace",
             "auto|external|wrapped")
      ->default_str("auto");
  option(command, "--stop-signal", arguments.stop_signal,
         "of the wrapped mode: the number of a signal that the program does not use", "N")
      ->check(CLI::Range(1, 64).description(""))
      ->capture_default_str();
}

void add_launch(CLI::App& app, Parsed& parsed) {
  LaunchArguments& arguments = parsed.launch;
  CLI::App* command =
      add_command(app, "launch", parsed, [&arguments] { return launch_command(arguments); });
  option(command, "--name", arguments.name, "of the computation (else made from the program's)",
         "NAME");
  add_policy(command, arguments);
  add_mode(command, arguments);
  option(command, "command", arguments.command, "the program and its arguments", "CMD...")
      ->required();
}

void add_attach(CLI::App& app, Parsed& parsed) {
  AttachArguments& arguments = parsed.attach;
  CLI::App* command =
      add_command(app, "attach", parsed, [&arguments] { return attach_command(arguments); });
  option(command, "pid", arguments.pid, "of a program that runs already", "PID")
      ->required()
      ->check(CLI::PositiveNumber.description(""));
  option(command, "--name", arguments.name, "of the computation (else made from the program's)",
         "NAME");
  add_policy(command, arguments);
}

void add_ps(CLI::App& app, Parsed& parsed) {
  CLI::App* command = add_command(app, "ps", parsed, [&parsed] { return ps_command(parsed.ps); });
  command->add_flag("--all", parsed.ps.all, "also computations that do not run but have an image");
  add_dir(command, parsed.ps.directory);
  add_json(command, parsed.ps.json);
}

void add_checkpoint(CLI::App& app, Parsed& parsed) {
  CheckpointArguments& arguments = parsed.checkpoint;
  CLI::App* command = add_command(app, "checkpoint", parsed,
                                  [&arguments] { return checkpoint_command(arguments); });
  option(command, "target", arguments.target,
         "a computation, or any process of yours; not needed when only one computation runs",
         "NAME|PID");
  command->add_flag("--kill", arguments.kill, "end the program once its image is on disk");
  option(command, "--name", arguments.name,
         "of the image, for a PID that has no supervisor (else PROGRAM-PID)", "NAME");
  add_dir(command, arguments.directory);
  add_keep(command, arguments.keep, "generations to keep, for a PID that has no supervisor");
  add_json(command, arguments.json);
}

void add_restart(CLI::App& app, Parsed& parsed) {
  RestartArguments& arguments = parsed.restart;
  CLI::App* command =
      add_command(app, "restart", parsed, [&arguments] { return restart_command(arguments); });
  option(command, "image", arguments.image, "path of an image, or NAME for its latest one",
         "IMAGE|NAME[@GENERATION]")
      ->required();
  CLI::Option* detach =
      command->add_flag("--detach", arguments.detach, "do not wait for the program's end");
  option(command, "--output", arguments.output,
         "with --detach: the file for its output, which is else thrown away", "FILE")
      ->needs(detach);
  option(command, "--name", arguments.name, "run under another name than before", "NAME");
  add_identity(command, arguments.identity, arguments.accept_changed_files);
  add_policy(command, arguments);
}

void add_check(CLI::App& app, Parsed& parsed) {
  CheckArguments& arguments = parsed.check;
  CLI::App* command =
      add_command(app, "check", parsed, [&arguments] { return check_command(arguments); });
  option(command, "target", arguments.target,
         "a program that runs, or an image; not needed when only one computation runs",
         "PID|NAME|IMAGE");
  command
      ->add_flag("--host", arguments.host,
                 "instead: what this host offers, and which ways would so be taken")
      ->excludes("target");
  add_identity(command, arguments.identity, arguments.accept_changed_files);
  add_dir(command, arguments.directory);
  add_json(command, arguments.json);
}

void add_inspect(CLI::App& app, Parsed& parsed) {
  InspectArguments& arguments = parsed.inspect;
  CLI::App* command =
      add_command(app, "inspect", parsed, [&arguments] { return inspect_command(arguments); });
  option(command, "image", arguments.image, "path of an image, or NAME for its latest one",
         "IMAGE|NAME[@GENERATION]")
      ->required();
  add_choice(command, "section", arguments.section,
             {{"tree", Section::tree},
              {"files", Section::files},
              {"memory", Section::memory},
              {"threads", Section::threads},
              {"core", Section::core}},
             "what to show; else a summary", "tree|files|memory|threads|core");
  option(command, "--pid", arguments.pid, "only of this process; for `core`, else of the root",
         "PID")
      ->check(CLI::PositiveNumber.description(""));
  option(command, "--output", arguments.output, "for `core`: the file to write (else PID.core)",
         "FILE");
  add_dir(command, arguments.directory);
  add_json(command, arguments.json);
}

void add_verify(CLI::App& app, Parsed& parsed) {
  VerifyArguments& arguments = parsed.verify;
  CLI::App* command =
      add_command(app, "verify", parsed, [&arguments] { return verify_command(arguments); });
  option(command, "image", arguments.image, "path of an image, or NAME for its latest one",
         "IMAGE|NAME[@GENERATION]")
      ->required();
  add_dir(command, arguments.directory);
  add_json(command, arguments.json);
}

void add_prune(CLI::App& app, Parsed& parsed) {
  PruneArguments& arguments = parsed.prune;
  CLI::App* command =
      add_command(app, "prune", parsed, [&arguments] { return prune_command(arguments); });
  option(command, "name", arguments.name, "only the images of this computation", "NAME");
  add_keep(command, arguments.keep, "generations to keep of each computation");
  command->add_flag("--dry-run", arguments.dry_run, "only say what would be removed");
  add_dir(command, arguments.directory);
  add_json(command, arguments.json);
}

void add_version(CLI::App& app, Parsed& parsed) {
  CLI::App* command =
      add_command(app, "version", parsed, [&parsed] { return version_command(parsed.version); });
  add_json(command, parsed.version.json);
}

// Hidden: for the build, for packagers, and for the completion itself.
void add_docs(CLI::App& app, Parsed& parsed) {
  DocsArguments& arguments = parsed.docs;
  CLI::App* command =
      add_command(app, "docs", parsed, [&arguments] { return docs_command(arguments); });
  command->add_option("format", arguments.format, "what to write to standard output")
      ->required()
      ->check(CLI::IsMember({"man", "bash", "zsh", "fish", "share", "running", "stored"})
                  .description(""))
      ->type_name("man|bash|zsh|fish|share|running|stored");
  option(command, "page", arguments.page,
         "man: the page of this command; share: the directory to fill", "COMMAND|DIR");
  command->group("");
}

}  // namespace

std::unique_ptr<CLI::App> build_app(Parsed& parsed) {
  auto app = std::make_unique<CLI::App>(text_of("").summary, "torpor");
  app->require_subcommand(1, 1);
  app->get_formatter()->column_width(34);
  add_launch(*app, parsed);
  add_attach(*app, parsed);
  add_ps(*app, parsed);
  add_checkpoint(*app, parsed);
  add_restart(*app, parsed);
  add_check(*app, parsed);
  add_inspect(*app, parsed);
  add_verify(*app, parsed);
  add_prune(*app, parsed);
  add_version(*app, parsed);
  add_docs(*app, parsed);
  for (CLI::App* command : app->get_subcommands({})) {
    command->footer(text_of(command->get_name()).examples_for_help());
  }
  return app;
}

SplitArguments split_arguments(const CLI::App& app, std::vector<std::string> arguments) {
  SplitArguments split{.ours = std::move(arguments), .program = {}};
  std::vector<std::string>& ours = split.ours;
  if (ours.empty() || ours.front() != "launch") return split;
  const CLI::App* launch = app.get_subcommand("launch");
  std::size_t at = 1;
  while (at < ours.size() && ours[at] != "--" && ours[at].starts_with('-')) {
    const CLI::Option* known = launch->get_option_no_throw(ours[at]);
    at += known != nullptr && known->get_items_expected_max() > 0 ? 2 : 1;
  }
  at = std::min(at, ours.size());
  const std::size_t program = at < ours.size() && ours[at] == "--" ? at + 1 : at;
  split.program.assign(ours.begin() + static_cast<std::ptrdiff_t>(program), ours.end());
  ours.resize(at);
  return split;
}

}  // namespace torpor::cli
