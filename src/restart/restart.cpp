#include "restart/restart.h"

#include "base/error.h"
#include "image/file_io.h"
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

}  // namespace

Restarted run(const Request& request, base::Progress& progress) {
  const image::FileSizeSignalGuard guard;  // what is too large is an error, not our end
  {
    Session session(request, progress);
    try {
      return run_steps(session);
    } catch (const base::Error& error) {
      // Somebody has taken an id that was free when we looked.
      if (error.code() != base::ErrorCode::conflict || !session.may_take_namespace()) throw;
    }
  }
  Request with_namespace = request;
  with_namespace.identity = Identity::name_space;
  Session session(with_namespace, progress);
  return run_steps(session);
}

}  // namespace torpor::restart
