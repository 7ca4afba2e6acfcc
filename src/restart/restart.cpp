#include "restart/restart.h"

#include "base/error.h"
#include "image/file_io.h"
#include "process/host_probe.h"
#include "restart/session.h"

namespace torpor::restart {

namespace {

Restarted run_steps(Session& session) {
  session.look();
  session.identify();
  session.grow();
  session.open();
  session.load();
  session.describe();
  session.thread();
  session.finish();
  session.drop();
  session.hold();
  return session.release();
}

Request with_identity(const Request& request, Identity identity) {
  Request changed = request;
  changed.identity = identity;
  return changed;
}

Restarted run_once(const Request& request, base::Progress& progress,
                   std::optional<Identity>& otherwise) {
  Session session(request, progress);
  try {
    return run_steps(session);
  } catch (const base::Error& error) {
    if (request.identity == Identity::automatic) {
      // Somebody has taken an id that was free when we looked; or there are no namespaces to be
      // had.
      const bool taken = error.code() == base::ErrorCode::conflict && session.may_take_namespace();
      const bool lacks = error.code() == base::ErrorCode::host_lacks && session.lacks_namespaces();
      if (taken) otherwise = Identity::name_space;
      if (lacks) otherwise = Identity::table;
    }
    if (!otherwise) throw;
  }
  return {};
}

}  // namespace

Identity chosen_identity(Identity wanted) {
  const bool traced = wanted != Identity::automatic || process::may_trace_children();
  return traced ? wanted : Identity::table;
}

Restarted run(const Request& request, base::Progress& progress) {
  const image::FileSizeSignalGuard guard;  // what is too large is an error, not our end
  std::optional<Identity> otherwise;
  Restarted restarted =
      run_once(with_identity(request, chosen_identity(request.identity)), progress, otherwise);
  if (!otherwise) return restarted;
  std::optional<Identity> none;
  return run_once(with_identity(request, *otherwise), progress, none);
}

}  // namespace torpor::restart
