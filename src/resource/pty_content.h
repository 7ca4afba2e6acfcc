// What is in a pseudo terminal: written on one side and not read on the other yet.
//
// The kernel has no way to look at it without taking it. So an agent takes it and puts it back in
// one batch of calls, which it makes to the end even if we are killed meanwhile.
#pragma once

#include <asm/termbits.h>

#include <string>

#include "process/agent_client.h"

namespace torpor::resource {

// Of the slave, whichever side `tty` is. Throw Error io.
struct ::termios2 terminal_settings(int tty);
void set_terminal_settings(int tty, const struct ::termios2& settings);

// Bytes that can be read there now. The kernel has finished what it was moving.
std::size_t bytes_waiting(int tty);
// What fits into the reader's side; more than that stays on its way.
inline constexpr std::size_t kReadableBytes = 4095;

// A master of ours, and the agent of a process in which its slave is opened for a moment: one that
// does not have this terminal as its own, for it could be in the background. Everybody else who has
// it is stopped. The slave has been open before: to open it must not change what the master shows.
class PtyLook {
 public:
  // `packet_mode`: of the master. Throws Error.
  PtyLook(int master, bool packet_mode, process::AgentClient& agent);
  PtyLook(const PtyLook&) = delete;
  PtyLook& operator=(const PtyLook&) = delete;
  ~PtyLook();

  // The slave's writers are held up by Ctrl-S or tcflow(3).
  [[nodiscard]] bool is_stopped() const;
  // Whole lines, which cannot be put back as they were, wait to be read from the slave.
  [[nodiscard]] bool has_lines() const;

  // What the master has not read. Not when it is stopped.
  std::string output();
  // What the slave has not read; in line mode the part of a line. Not when it has lines.
  std::string input();

 private:
  void put_settings_back();

  int master_;
  bool packet_mode_;
  process::AgentClient& agent_;
  struct ::termios2 settings_;
  int flags_;          // of the master
  int agents_master_;  // its number there
  int agents_slave_ = -1;
  base::UniqueFd slave_;  // of ours
};

// Puts it into a new pseudo terminal, whose sides do not block, and sets it up. Throws Error io.
void fill_pty(int master, int slave, const std::string& output, const std::string& input,
              const struct ::termios2& settings);

}  // namespace torpor::resource
