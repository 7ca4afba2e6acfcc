// Waits for the supervisor's children: the one that matters, and the orphans that come to us
// because we are their subreaper.
#pragma once

#include <sys/types.h>
#include <sys/wait.h>

#include <functional>
#include <mutex>

#include "supervisor/asio.h"

namespace torpor::supervisor {

class Reaper {
 public:
  // `on_status` gets the status of `child`, in the encoding of wait(2), whenever it stops or ends.
  // While `wait_lock` is held by somebody else nothing is waited for.
  Reaper(asio::io_context& io, pid_t child, std::mutex& wait_lock,
         std::function<void(int status)> on_status);

  // Looks for what has happened; after each SIGCHLD.
  void look();
  // While a checkpoint is running its helpers may come to us too: they are left to it.
  void leave_orphans(bool leave) { leave_orphans_ = leave; }

 private:
  bool take_one(idtype_t which, pid_t pid, int what);
  void look_again_soon();

  pid_t child_;
  std::mutex& wait_lock_;
  std::function<void(int)> on_status_;
  bool leave_orphans_ = false;
  asio::steady_timer again_;
};

}  // namespace torpor::supervisor
