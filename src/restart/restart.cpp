#include "restart/restart.h"

#include "restart/session.h"

namespace torpor::restart {

Restarted run(const Request& request, base::Progress& progress) {
  Session session(request, progress);
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

}  // namespace torpor::restart
