#include "restart/restart.h"

#include "image/file_io.h"
#include "restart/session.h"

namespace torpor::restart {

Restarted run(const Request& request, base::Progress& progress) {
  const image::FileSizeSignalGuard guard;  // what is too large is an error, not our end
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
