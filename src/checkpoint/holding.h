// The two ways in which the processes of a tree are stopped and entered (docs/wrapped-mode.md);
// what comes then is the same.
#pragma once

#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "process/held_process.h"
#include "process/stopped_tree.h"
#include "resource/memory.h"

namespace torpor::checkpoint {

// A tree, every thread of it stopped. RAII: without release() too all go on when it is destroyed.
class Holding {
 public:
  virtual ~Holding() = default;
  Holding(const Holding&) = delete;
  Holding& operator=(const Holding&) = delete;

  // Parents before children, zombies included. They stay where they are.
  virtual std::vector<process::HeldProcess>& processes() = 0;
  [[nodiscard]] virtual std::size_t thread_count() const = 0;
  // Brings the agent in, if it is not there yet. Throws process::StillLeaving when one that an
  // earlier checkpoint has left must be waited for.
  virtual void enter(process::HeldProcess& held) = 0;
  // What of its memory is ours.
  [[nodiscard]] virtual resource::AddressRange own_memory(
      const process::HeldProcess& held) const = 0;
  // Takes the agent out, unless it stays for good.
  virtual void leave(process::HeldProcess& held) = 0;
  // Lets all go on.
  virtual void release() = 0;
  // After SIGKILL: waits until all have ended.
  virtual void await_end(int milliseconds) = 0;

 protected:
  Holding() = default;
};

// Stops the tree in the way that the request says.
std::unique_ptr<Holding> hold_tree(const Request& request, const process::TreeScope& scope,
                                   int patience_ms);

}  // namespace torpor::checkpoint
