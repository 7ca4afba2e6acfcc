#include "supervisor/restart.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/targets.h"
#include "image/store.h"

namespace torpor::cli {
namespace {

// Later images go where this one came from, that is, <store>/<name>/<generation>.
std::filesystem::path store_of(const std::filesystem::path& image) {
  return image.parent_path().parent_path();
}

supervisor::RestartOptions options_for(const RestartArguments& arguments) {
  supervisor::RestartOptions options;
  options.image = std::filesystem::canonical(
      image::resolve(store_directory(arguments.directory), arguments.image));
  options.identity = arguments.identity;
  options.accept_changed_files = arguments.accept_changed_files;
  options.name = if_given(arguments.name);
  options.background = arguments.detach;
  options.policy =
      policy(arguments.directory.empty() ? store_of(options.image).string() : arguments.directory,
             arguments.keep, arguments.interval);
  return options;
}

void print_warnings(const control::Started& started) {
  for (const std::string& warning : started.warnings()) warn(warning);
}

int restart_detached(const supervisor::RestartOptions& options, const std::string& output) {
  ProgressLine line("reading");
  const std::optional<std::string> log = if_given(output);
  const control::Started started = supervisor::restart_in_background(
      options, log ? std::optional<std::filesystem::path>(*log) : std::nullopt,
      [&](const control::Progress& progress) {
        line.show(progress.bytes_done(), progress.bytes_total());
      });
  line.clear();
  print_warnings(started);
  print_line(fmt::format("{} {}", started.name(), started.root_pid()));
  return 0;
}

}  // namespace

int restart_command(const RestartArguments& arguments) {
  const supervisor::RestartOptions options = options_for(arguments);
  if (arguments.detach) return restart_detached(options, arguments.output);
  base::Progress progress;
  ProgressWatcher watcher("reading", progress);
  return supervisor::restart(options, progress, [&](const control::Started& started) {
    watcher.stop();
    print_warnings(started);
  });
}

}  // namespace torpor::cli
