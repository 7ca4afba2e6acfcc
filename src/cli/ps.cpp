#include "cli/commands.h"
#include "cli/output.h"
#include "cli/units.h"
#include "supervisor/control_client.h"
#include "supervisor/runtime_dir.h"

namespace torpor::cli {
namespace {

const char* origin(const control::Status& status) {
  switch (status.origin()) {
    case control::Status::ATTACHED: return "attached";
    case control::Status::RESTARTED: return "restarted";
    default: return "launched";
  }
}

std::string last_checkpoint(const control::Status& status) {
  if (status.checkpoint_running()) return "running";
  if (!status.last_failure().empty()) return "failed";
  if (status.generation() == 0) return "-";
  return fmt::format("@{} {}", status.generation(), format_time(status.checkpoint_ns()));
}

Json to_json(const control::Status& status) {
  Json json = Json::object();
  json.set("name", status.name()).set("pid", status.root_pid());
  json.set("supervisor_pid", status.supervisor_pid()).set("origin", origin(status));
  json.set("command", status.command()).set("started_ns", status.started_ns());
  json.set("directory", status.directory()).set("interval_ms", status.interval_ms());
  json.set("generation", status.generation()).set("checkpoint_ns", status.checkpoint_ns());
  json.set("image", status.image()).set("checkpoint_running", status.checkpoint_running());
  json.set("last_failure", status.last_failure());
  return json;
}

}  // namespace

int ps_command(const PsArguments& arguments) {
  const std::vector<control::Status> all =
      supervisor::all_statuses(supervisor::runtime_directory());
  if (arguments.json) {
    Json list = Json::array();
    for (const control::Status& status : all) list.push(to_json(status));
    print_json(list);
    return 0;
  }
  std::vector<std::vector<std::string>> rows{
      {"NAME", "PID", "ORIGIN", "SINCE", "LAST CHECKPOINT", "COMMAND"}};
  for (const control::Status& status : all) {
    rows.push_back({status.name(), fmt::format("{}", status.root_pid()), origin(status),
                    format_time(status.started_ns()), last_checkpoint(status), status.command()});
  }
  print_line(align(rows));
  return 0;
}

}  // namespace torpor::cli
