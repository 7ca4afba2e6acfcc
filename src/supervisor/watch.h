// How a supervisor learns what becomes of the root of its program. One kind for each way in which
// the program may have come to it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <mutex>

#include "base/unique_fd.h"
#include "supervisor/asio.h"

namespace torpor::supervisor {

class Watch {
 public:
  virtual ~Watch() = default;
  // After SIGCHLD, and after a checkpoint.
  virtual void look() {}
  virtual void checkpoint_runs(bool) {}
};

// Gets the root's status in the encoding of wait(2) when it stops or ends.
using OnStatus = std::function<void(int status)>;

// The root is our child.
std::unique_ptr<Watch> watch_child(asio::io_context& io, pid_t root, std::mutex& wait_lock,
                                   OnStatus on_status);

// The root is a descendant of our `child`, which reports by `reports` what becomes of its children
// (see restart::Restarted). Should `child` end without a word of the root, then the root was killed
// with it.
std::unique_ptr<Watch> watch_reports(asio::io_context& io, pid_t child, base::UniqueFd reports,
                                     pid_t root_seen, std::mutex& wait_lock, OnStatus on_status);

// The root is anybody's child. That it has ended can be seen, but not how: status 0 is given.
// Throws Error program_gone if there is no such process.
std::unique_ptr<Watch> watch_stranger(asio::io_context& io, pid_t root, OnStatus on_status);

}  // namespace torpor::supervisor
