#include <filesystem>
#include <fstream>

#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/docs_model.h"
#include "cli/man_page.h"
#include "cli/output.h"
#include "cli/targets.h"
#include "image/store.h"
#include "supervisor/control_client.h"
#include "supervisor/runtime_dir.h"

namespace torpor::cli {
namespace {

std::string man(const std::string& page) {
  const std::vector<CommandDoc> commands = describe_commands();
  if (page.empty()) return main_man_page(commands);
  for (const CommandDoc& command : commands) {
    if (command.name == page) return command_man_page(command);
  }
  throw base::Error(base::ErrorCode::not_found, fmt::format("there is no command '{}'", page),
                    "torpor --help");
}

std::string lines(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += name + "\n";
  return text;
}

std::vector<std::string> running() {
  std::vector<std::string> names;
  for (const control::Status& status : supervisor::all_statuses(supervisor::runtime_directory())) {
    names.push_back(status.name());
  }
  return names;
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file) {
    throw base::Error(base::ErrorCode::io, fmt::format("cannot write {}", path.string()));
  }
}

// Everything that is installed, where it belongs below <prefix>/share.
void write_share(const std::filesystem::path& share) {
  const std::vector<CommandDoc> commands = describe_commands();
  write_file(share / "man/man1/torpor.1", main_man_page(commands));
  for (const CommandDoc& command : commands) {
    write_file(share / fmt::format("man/man1/torpor-{}.1", command.name),
               command_man_page(command));
  }
  write_file(share / "bash-completion/completions/torpor", bash_completion(commands));
  write_file(share / "zsh/site-functions/_torpor", zsh_completion(commands));
  write_file(share / "fish/vendor_completions.d/torpor.fish", fish_completion(commands));
}

std::string document(const DocsArguments& arguments) {
  if (arguments.format == "man") return man(arguments.page);
  if (arguments.format == "bash") return bash_completion(describe_commands());
  if (arguments.format == "zsh") return zsh_completion(describe_commands());
  if (arguments.format == "fish") return fish_completion(describe_commands());
  if (arguments.format == "running") return lines(running());
  return lines(image::computations(store_directory("")));
}

}  // namespace

int docs_command(const DocsArguments& arguments) {
  if (arguments.format == "share") {
    write_share(arguments.page);
    return 0;
  }
  std::string text = document(arguments);
  if (text.ends_with('\n')) text.pop_back();
  if (!text.empty()) print_line(text);
  return 0;
}

}  // namespace torpor::cli
