#include "supervisor/replies.h"

namespace torpor::supervisor {

control::Error to_message(const base::Error& error) {
  control::Error message;
  message.set_code(static_cast<int>(error.code()));
  message.set_what(error.what());
  message.set_remedy(error.remedy());
  return message;
}

base::Error to_error(const control::Error& message) {
  return {static_cast<base::ErrorCode>(message.code()), message.what(), message.remedy()};
}

control::CheckpointOutcome to_message(const checkpoint::Outcome& outcome,
                                      const checkpoint::Request& request) {
  control::CheckpointOutcome message;
  message.set_name(request.name);
  message.set_killed(request.kill);
  message.set_image(outcome.image.string());
  message.set_generation(outcome.generation);
  message.set_pause_ns(outcome.pause.count());
  message.set_total_ns(outcome.total.count());
  message.set_bytes(outcome.bytes);
  message.set_processes(outcome.processes);
  message.set_threads(outcome.threads);
  for (const std::string& warning : outcome.warnings) message.add_warnings(warning);
  return message;
}

control::Findings to_message(const std::vector<checkpoint::Finding>& findings) {
  control::Findings message;
  for (const checkpoint::Finding& finding : findings) {
    control::Finding& entry = *message.add_findings();
    entry.set_fatal(finding.fatal);
    entry.set_pid(finding.pid);
    entry.set_what(finding.what);
    entry.set_reason(finding.reason);
    entry.set_remedy(finding.remedy);
  }
  return message;
}

}  // namespace torpor::supervisor
