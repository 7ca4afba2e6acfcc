#include <algorithm>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/targets.h"
#include "cli/units.h"
#include "image/manifest_io.h"
#include "image/store.h"
#include "supervisor/control_client.h"
#include "supervisor/runtime_dir.h"

namespace torpor::cli {
namespace {

const char* origin(const control::Status& status) {
  if (status.supervisor_pid() == 0) return "stored";
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

bool is_among(const std::vector<control::Status>& all, const std::string& name) {
  return std::ranges::any_of(all, [&](const auto& status) { return status.name() == name; });
}

// What is in the store and does not run, as far as it can be read.
void add_stored(std::vector<control::Status>& all, const std::filesystem::path& directory) {
  for (const std::string& name : image::computations(directory)) {
    const image::Store store(directory, name);
    const std::optional<std::uint64_t> latest = store.latest();
    if (!latest || is_among(all, name)) continue;
    control::Status& status = all.emplace_back();
    status.set_name(name);
    status.set_directory(directory.string());
    status.set_generation(*latest);
    status.set_image(store.path_of(*latest).string());
    try {
      const snapshot::Manifest manifest =
          image::read_manifest(store.path_of(*latest) / image::manifest_name);
      status.set_checkpoint_ns(manifest.created_ns());
    } catch (const base::Error& error) {
      status.set_last_failure(error.what());
    }
  }
}

std::vector<control::Status> list(const PsArguments& arguments) {
  std::vector<control::Status> all = supervisor::all_statuses(supervisor::runtime_directory());
  if (arguments.all) add_stored(all, store_directory(arguments.directory));
  return all;
}

std::string number_or_dash(std::int64_t number) {
  return number > 0 ? fmt::format("{}", number) : "-";
}

std::string time_or_dash(std::int64_t ns) { return ns > 0 ? format_time(ns) : "-"; }

}  // namespace

int ps_command(const PsArguments& arguments) {
  const std::vector<control::Status> all = list(arguments);
  if (arguments.json) {
    Json list = Json::array();
    for (const control::Status& status : all) list.push(to_json(status));
    print_json(list);
    return 0;
  }
  std::vector<std::vector<std::string>> rows{
      {"NAME", "PID", "ORIGIN", "SINCE", "LAST CHECKPOINT", "COMMAND"}};
  for (const control::Status& status : all) {
    rows.push_back({status.name(), number_or_dash(status.root_pid()), origin(status),
                    time_or_dash(status.started_ns()), last_checkpoint(status), status.command()});
  }
  print_line(align(rows));
  return 0;
}

}  // namespace torpor::cli
