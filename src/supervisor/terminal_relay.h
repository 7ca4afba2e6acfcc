// Carries bytes, window size and hang-up between the user's terminal and the program's.
#pragma once

#include <functional>
#include <string>

#include "supervisor/asio.h"
#include "supervisor/job_control.h"
#include "supervisor/pty.h"
#include "supervisor/user_terminal.h"

namespace torpor::supervisor {

class TerminalRelay {
 public:
  // `on_suspend_key` is called when the user has typed it and the program's terminal has seen it.
  TerminalRelay(asio::io_context& io, UserTerminal& user, Pty pty,
                std::function<void()> on_suspend_key);

  // Starts to carry. Keys are taken only while the user's terminal is raw, that is, while we are in
  // its foreground.
  void start();

  // The program's terminal takes over the size of the user's.
  void copy_window_size();
  // Hands on what the program has written so far, at most `limit` bytes. Waits for the user's
  // terminal, at most 30 seconds.
  void flush(std::size_t limit);
  // Hangs the program's terminal up, as the kernel does when a connection is cut.
  void hang_up();

  // The foreground group of the program's terminal; -1 if there is none.
  [[nodiscard]] pid_t foreground_group();

 private:
  asio::awaitable<void> carry_input();
  asio::awaitable<void> carry_output();
  asio::awaitable<bool> read_keys();
  asio::awaitable<void> type(std::string_view keys);
  asio::awaitable<void> wait_in_background();
  bool write_some();
  void fill_from_master();

  UserTerminal& user_;
  asio::posix::stream_descriptor user_side_;  // waited for only; read and written by hand
  asio::posix::stream_descriptor master_;
  asio::steady_timer background_timer_;
  base::UniqueFd slave_;
  std::function<void()> on_suspend_key_;
  SuspendKey suspend_key_;
  std::string keys_;    // typed, not handed on
  std::string output_;  // read from the program, not shown
};

}  // namespace torpor::supervisor
