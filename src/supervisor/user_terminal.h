// The terminal at which the user sits: where it is, and whether it is ours just now.
#pragma once

#include <sys/ioctl.h>
#include <termios.h>

#include <array>
#include <memory>
#include <optional>

#include "base/unique_fd.h"
#include "supervisor/raw_mode.h"

namespace torpor::supervisor {

class UserTerminal {
 public:
  // The terminal among the standard streams. Nothing if none is one, or if standard output is a
  // pipe or socket: then the end of the pipeline is whom the user talks to, and reading his keys
  // here would take them away from it.
  static std::unique_ptr<UserTerminal> find();

  ~UserTerminal();

  // Which of 0, 1, 2 lead to it.
  [[nodiscard]] const std::array<bool, 3>& streams() const { return streams_; }
  // An open file description of our own where the terminal can be opened, so that nobody else sees
  // that it does not block. Where it cannot, O_NONBLOCK is taken back in the end.
  [[nodiscard]] int fd() const { return fd_.get(); }

  // Whether our process group may read and set it.
  [[nodiscard]] bool is_foreground() const;
  // The connection is cut, the window closed.
  [[nodiscard]] bool is_hung_up() const;

  [[nodiscard]] bool is_raw() const { return raw_.has_value(); }
  // Raw if we are in the foreground; else leaves it alone.
  void enter_raw();
  void leave_raw();

 private:
  UserTerminal(base::UniqueFd fd, std::array<bool, 3> streams);

  base::UniqueFd fd_;
  int flags_;  // of the description, which may be one that others have too
  std::array<bool, 3> streams_;
  std::optional<RawMode> raw_;
};

}  // namespace torpor::supervisor
