#include "checkpoint/checkpoint.h"

#include "checkpoint/session.h"
#include "image/file_io.h"

namespace torpor::checkpoint {

Outcome run(const Request& request, base::Progress& progress,
            const std::function<void()>& resumed) {
  const image::FileSizeSignalGuard guard;  // what is too large is an error, not our end
  Session session(request, progress);
  try {
    session.look();
    session.stop();
    session.enter();
    session.capture();
    session.copy();
    session.snapshot();
    session.leave();
    session.resume();
    if (resumed) resumed();
    session.write();
    return session.commit();
  } catch (const base::Error& error) {
    session.give_up();
    session.throw_if_somebody_died(error);
    throw;
  }
}

}  // namespace torpor::checkpoint
