#include "checkpoint/checkpoint.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/targets.h"
#include "cli/units.h"
#include "supervisor/control_client.h"
#include "supervisor/launch.h"
#include "supervisor/names.h"
#include "supervisor/replies.h"
#include "supervisor/runtime_dir.h"
#include "supervisor/standard_streams.h"
#include "wrapped/adoption.h"

namespace torpor::cli {
namespace {

control::CheckpointOutcome ask_supervisor(const std::string& name,
                                          const CheckpointArguments& arguments) {
  control::Request request;
  request.mutable_checkpoint()->set_kill(arguments.kill);
  if (!arguments.directory.empty()) {
    request.mutable_checkpoint()->set_directory(store_directory(arguments.directory).string());
  }
  ProgressLine line("writing " + name);
  const auto show = [&](const control::Progress& progress) {
    line.show(progress.bytes_done(), progress.bytes_total());
  };
  return supervisor::ask(supervisor::runtime_directory(), name, request, -1, show).checkpoint();
}

// Two processes may well be called the same, and nobody keeps them apart for us.
std::string name_for(pid_t pid) {
  const std::string command = supervisor::command_line_of(pid);
  return fmt::format("{}-{}", supervisor::base_name(command.substr(0, command.find(' '))), pid);
}

control::CheckpointOutcome take_it_here(pid_t pid, const CheckpointArguments& arguments) {
  checkpoint::Request request;
  request.root = pid;
  request.name = arguments.name.empty() ? name_for(pid) : arguments.name;
  request.directory = store_directory(arguments.directory);
  request.kill = arguments.kill;
  request.keep = arguments.keep;
  request.outside = supervisor::outside_streams_of(pid);
  const auto adopted = wrapped::computation_of(pid);
  if (adopted) request.wrapped = adopted->computation;
  if (adopted && adopted->ids) adopted->ids->leave();
  base::Progress progress;
  ProgressWatcher watcher("writing " + request.name, progress);
  return supervisor::to_message(checkpoint::run(request, progress), request);
}

std::chrono::nanoseconds span(std::int64_t ns) { return std::chrono::nanoseconds(ns); }

void print(const control::CheckpointOutcome& outcome) {
  print_line(fmt::format("{}@{}: {} in {}, paused for {}; {} processes, {} threads{}",
                         outcome.name(), outcome.generation(), format_bytes(outcome.bytes()),
                         format_span(span(outcome.total_ns())),
                         format_span(span(outcome.pause_ns())), outcome.processes(),
                         outcome.threads(), outcome.killed() ? "; ended" : ""));
  print_line(outcome.image());
  for (const std::string& warning : outcome.warnings()) warn(warning);
}

Json to_json(const control::CheckpointOutcome& outcome) {
  Json warnings = Json::array();
  for (const std::string& warning : outcome.warnings()) warnings.push(warning);
  Json json = Json::object();
  json.set("name", outcome.name()).set("generation", outcome.generation());
  json.set("image", outcome.image()).set("bytes", outcome.bytes());
  json.set("pause_ns", outcome.pause_ns()).set("total_ns", outcome.total_ns());
  json.set("processes", outcome.processes()).set("threads", outcome.threads());
  json.set("killed", outcome.killed()).set("warnings", std::move(warnings));
  return json;
}

}  // namespace

int checkpoint_command(const CheckpointArguments& arguments) {
  const Target target = find_target(arguments.target);
  if (target.computation && !arguments.name.empty()) {
    throw base::Error(base::ErrorCode::usage,
                      fmt::format("the computation '{}' has its name already; --name is for "
                                  "processes that nobody supervises",
                                  target.computation->name()));
  }
  const control::CheckpointOutcome outcome =
      target.computation ? ask_supervisor(target.computation->name(), arguments)
                         : take_it_here(target.pid, arguments);
  if (arguments.json) {
    print_json(to_json(outcome));
  } else {
    print(outcome);
  }
  return 0;
}

}  // namespace torpor::cli
