#include "resource/process_state.h"

#include "base/error.h"
#include "resource/attributes.h"
#include "resource/limits.h"
#include "resource/scheduling.h"
#include "resource/seccomp.h"
#include "resource/signals.h"
#include "resource/thread_pointers.h"
#include "resource/timers.h"

namespace torpor::resource {
namespace {

void refuse_what_is_fatal(process::HeldProcess& held, std::vector<Obstacle>* remarks) {
  std::vector<Obstacle> obstacles;
  check_stopped(held, obstacles);
  for (Obstacle& found : obstacles) {
    if (found.fatal) {
      throw base::Error(base::ErrorCode::refused,
                        fmt::format("process {}: {}: {}", found.pid, found.what, found.reason),
                        found.remedy);
    }
    if (remarks != nullptr) remarks->push_back(std::move(found));
  }
}

}  // namespace

void capture_process_state(process::HeldProcess& held, snapshot::Process& process,
                           std::vector<Obstacle>* remarks) {
  refuse_what_is_fatal(held, remarks);
  capture_seccomp(held, process);
  capture_signals(held, process);
  capture_credentials(held, process);
  capture_attributes(held, process);
  capture_thread_pointers(held, process);
  capture_scheduling(held, process);
  capture_limits(held, process);
  capture_timers(held, process);
}

void restore_process_early(process::CallList& calls, const snapshot::Process& process) {
  restore_attributes_early(calls, process);
}

void restore_thread(process::CallList& calls, const snapshot::Thread& thread,
                    const snapshot::Process& process) {
  restore_thread_attributes(calls, thread, process);
  restore_scheduling(calls, thread);
  restore_thread_pointers(calls, thread);
  restore_thread_signals(calls, thread, process);
}

void restore_process_late(process::CallList& calls, const snapshot::Process& process,
                          const TimePassed& passed) {
  restore_actions(calls, process);
  restore_attributes_late(calls, process);
  restore_interval_timers(calls, process, passed);
  restore_limits(calls, process);
}

void restore_queued(process::AgentClient& agent, const snapshot::Process& process,
                    const TimePassed& passed) {
  restore_queued_signals(agent, process);
  restore_posix_timers(agent, process, passed);
}

void restore_privileges(process::CallList& calls, const snapshot::Thread& thread,
                        const snapshot::Process& process, const PresentCredentials& present) {
  restore_credentials(
      calls, thread.has_credentials() ? thread.credentials() : process.credentials(), present);
  restore_after_credentials(calls, thread, process);
}

}  // namespace torpor::resource
