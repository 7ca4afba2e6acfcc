// The dry pass: what stands in the way of a checkpoint is said before anything is stopped (I5).
#include <unistd.h>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "process/stopped_tree.h"
#include "resource/descriptors.h"
#include "resource/memory.h"
#include "resource/refusals.h"
#include "resource/unix_socket_table.h"

namespace torpor::checkpoint {
namespace {

void check_memories(const std::vector<pid_t>& members, std::vector<Finding>& findings) {
  for (const pid_t pid : members) {
    try {
      for (const resource::MemoryFinding& found : resource::check_memory(pid)) {
        findings.push_back({true, pid, found.area, found.reason, found.remedy});
      }
    } catch (const base::Error& error) {
      if (error.code() != base::ErrorCode::program_gone) throw;
    }
  }
}

void check_files(const Request& request, const std::vector<pid_t>& members,
                 std::vector<Finding>& findings) {
  snapshot::Computation model;
  resource::CaptureState state;
  state.model = &model;
  for (const Request::OutsideStream& stream : request.outside) {
    state.outside.push_back({stream.stream, stream.device, stream.inode});
  }
  const auto found_files = resource::check_descriptors(members, state);
  // What nobody seems to hold may be on its way in the queue of a socket, which can be looked into
  // only when everything is stopped.
  const bool all_in_sight = !resource::may_have_descriptors_in_flight(state);
  for (const resource::DescriptorFinding& found : found_files) {
    findings.push_back(
        {found.certain || all_in_sight, found.pid, found.what, found.reason, found.remedy, true});
  }
}

void check_processes(const Request& request, const std::vector<pid_t>& members,
                     std::vector<Finding>& findings) {
  std::vector<resource::Obstacle> obstacles;
  const pid_t surroundings = request.reaper != 0 ? request.reaper : ::getpid();
  for (const pid_t pid : members) {
    if (request.wrapped && !wrapped::is_managed(pid, *request.wrapped)) {
      findings.push_back({true, pid, "program", wrapped::kNoAgent, wrapped::kNoAgentRemedy});
      continue;
    }
    resource::check_process(pid, surroundings, obstacles);
  }
  resource::check_sharing(members, obstacles);
  resource::check_system_v(members, obstacles);
  for (const resource::Obstacle& obstacle : obstacles) {
    findings.push_back(
        {obstacle.fatal, obstacle.pid, obstacle.what, obstacle.reason, obstacle.remedy});
  }
}

}  // namespace

std::vector<Finding> check(const Request& request) {
  const std::vector<pid_t> members =
      process::members_of({request.root, request.reaper, request.not_ours});
  if (members.empty()) {
    throw base::Error(base::ErrorCode::program_gone,
                      fmt::format("process {} has ended", request.root));
  }
  std::vector<Finding> findings;
  check_memories(members, findings);
  check_files(request, members, findings);
  check_processes(request, members, findings);
  return findings;
}

}  // namespace torpor::checkpoint
