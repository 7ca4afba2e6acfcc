#include "checkpoint/checkpoint.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/targets.h"
#include "image/store.h"
#include "restart/restart.h"
#include "supervisor/control_client.h"
#include "supervisor/replies.h"
#include "supervisor/runtime_dir.h"
#include "supervisor/standard_streams.h"

namespace torpor::cli {
namespace {

// "NAME@GEN", a path, or a name under which nothing runs but something is stored.
bool means_image(const CheckArguments& arguments) {
  const std::string& word = arguments.target;
  if (word.find_first_of("/@") != std::string::npos || word == "." || word == "..") return true;
  if (parse_pid(word)) return false;
  try {
    supervisor::status_of(supervisor::runtime_directory(), word);
    return false;
  } catch (const base::Error& error) {
    if (error.code() != base::ErrorCode::not_found) throw;
    return true;
  }
}

control::Findings check_image(const CheckArguments& arguments) {
  restart::Request request;
  request.image = image::resolve(store_directory(arguments.directory), arguments.target);
  request.identity = arguments.identity;
  request.accept_changed_files = arguments.accept_changed_files;
  control::Findings findings;
  for (const restart::Finding& finding : restart::check(request)) {
    control::Finding& entry = *findings.add_findings();
    entry.set_fatal(finding.fatal);
    entry.set_what(finding.what);
    entry.set_reason(finding.reason);
    entry.set_remedy(finding.remedy);
  }
  return findings;
}

control::Findings check_program(const std::string& word) {
  const Target target = find_target(word);
  if (target.computation) {
    control::Request request;
    request.mutable_check();
    return supervisor::ask(supervisor::runtime_directory(), target.computation->name(), request)
        .findings();
  }
  checkpoint::Request request;
  request.root = target.pid;
  request.outside = supervisor::outside_streams_of(target.pid);
  return supervisor::to_message(checkpoint::check(request));
}

bool has_fatal(const control::Findings& findings) {
  for (const control::Finding& finding : findings.findings()) {
    if (finding.fatal()) return true;
  }
  return false;
}

void print(const control::Findings& findings, const char* verb) {
  for (const control::Finding& finding : findings.findings()) {
    const std::string pid = finding.pid() > 0 ? fmt::format("process {}: ", finding.pid()) : "";
    print_line(fmt::format("{}: {}{}: {}", finding.fatal() ? "refused" : "note", pid,
                           finding.what(), finding.reason()));
    if (!finding.remedy().empty()) print_line("  try: " + finding.remedy());
  }
  print_line(fmt::format("{} {}", has_fatal(findings) ? "cannot be" : "can be", verb));
}

void print_as_json(const control::Findings& findings) {
  Json list = Json::array();
  for (const control::Finding& finding : findings.findings()) {
    Json entry = Json::object();
    entry.set("fatal", finding.fatal());
    if (finding.pid() > 0) entry.set("pid", finding.pid());
    entry.set("what", finding.what()).set("reason", finding.reason());
    entry.set("remedy", finding.remedy());
    list.push(std::move(entry));
  }
  Json json = Json::object();
  json.set("possible", !has_fatal(findings)).set("findings", std::move(list));
  print_json(json);
}

}  // namespace

int check_command(const CheckArguments& arguments) {
  if (arguments.host) return check_host(arguments.json);
  const bool image = !arguments.target.empty() && means_image(arguments);
  const control::Findings findings =
      image ? check_image(arguments) : check_program(arguments.target);
  if (arguments.json) {
    print_as_json(findings);
  } else {
    print(findings, image ? "restarted here" : "checkpointed");
  }
  return has_fatal(findings) ? static_cast<int>(base::ErrorCode::refused) : 0;
}

}  // namespace torpor::cli
