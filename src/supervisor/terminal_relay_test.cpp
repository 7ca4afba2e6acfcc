// The relay between two pseudo terminals: the test is the user at the outer one, a program has the
// inner one, and a process between them relays.
#include "supervisor/terminal_relay.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "supervisor/exit_status.h"
#include "supervisor/spawn.h"
#include "supervisor/standard_streams.h"

namespace torpor::supervisor {
namespace {

// Runs the command at a terminal of its own, as a child of the process that relays.
int relay_program(const std::vector<std::string>& command) {
  const Signals signals;
  std::unique_ptr<UserTerminal> user = UserTerminal::find();
  if (!user) return 99;
  Pty pty = open_pty();
  const int slave = pty.slave.get();
  const pid_t pid = spawn(
      {.command = command, .streams = streams_for_program(user.get(), slave), .terminal = slave},
      signals);
  asio::io_context io;
  TerminalRelay relay(io, *user, std::move(pty), [] {});
  user->enter_raw();
  relay.copy_window_size();
  relay.start();
  int status = 0;
  while (::waitpid(pid, &status, WNOHANG) == 0) io.run_for(std::chrono::milliseconds(5));
  relay.flush(1u << 20);
  user->leave_raw();
  return exit_status(status);
}

class Relay : public ::testing::Test {
 protected:
  void start(const std::vector<std::string>& command) {
    set_window_size(outer_.master.get(),
                    {.ws_row = 33, .ws_col = 99, .ws_xpixel = 0, .ws_ypixel = 0});
    before_ = *terminal_modes(outer_.slave.get());
    process_ = ::fork();
    if (process_ != 0) return;
    ::setsid();
    ::ioctl(outer_.slave.get(), TIOCSCTTY, 0);
    for (int fd = 0; fd < 3; ++fd) ::dup2(outer_.slave.get(), fd);
    ::_exit(relay_program(command));
  }

  void type(std::string_view keys) {
    EXPECT_EQ(::write(outer_.master.get(), keys.data(), keys.size()),
              static_cast<ssize_t>(keys.size()));
  }

  // Waits until it is shown.
  bool sees(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (shown_.find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      read_more();
    }
    return true;
  }

  int exit_code() {
    int status = 0;
    while (::waitpid(process_, &status, WNOHANG) == 0) read_more();
    read_more();
    const termios after = *terminal_modes(outer_.slave.get());
    EXPECT_EQ(after.c_lflag, before_.c_lflag);
    EXPECT_EQ(after.c_iflag, before_.c_iflag);
    EXPECT_EQ(after.c_oflag, before_.c_oflag);
    return WEXITSTATUS(status);
  }

  void read_more() {
    pollfd wanted{.fd = outer_.master.get(), .events = POLLIN, .revents = 0};
    if (::poll(&wanted, 1, 10) <= 0) return;
    std::array<char, 65536> bytes{};
    const ssize_t got = ::read(outer_.master.get(), bytes.data(), bytes.size());
    if (got > 0) shown_.append(bytes.data(), static_cast<std::size_t>(got));
  }

  Pty outer_ = open_pty();
  termios before_{};
  pid_t process_ = 0;
  std::string shown_;
};

TEST_F(Relay, TheProgramHasATerminalOfTheSameSize) {
  start({"sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size"});
  EXPECT_TRUE(sees("33 99"));
  EXPECT_EQ(exit_code(), 0);
}

TEST_F(Relay, KeysArriveAndTheInterruptKeyInterrupts) {
  start({"sh", "-c",
         "trap 'echo caught; exit 4' INT; echo go; read x; echo got $x; while :; do sleep 0.05; "
         "done"});
  ASSERT_TRUE(sees("go"));
  type("hello\r");
  ASSERT_TRUE(sees("got hello"));
  type("\x03");
  EXPECT_TRUE(sees("caught"));
  EXPECT_EQ(exit_code(), 4);
}

TEST_F(Relay, NothingOfTheOutputIsLost) {
  start({"seq", "30000"});
  EXPECT_TRUE(sees("29999\r\n30000\r\n"));
  EXPECT_EQ(exit_code(), 0);
  EXPECT_EQ(std::count(shown_.begin(), shown_.end(), '\n'), 30000);
}

TEST_F(Relay, TheSlaveLivesOnWhileTheProgramHasItClosed) {
  // Closes every descriptor of its terminal, and comes back through /dev/tty.
  start({"sh", "-c",
         "exec 0<&- 1>&- 2>&-; sleep 0.2; exec 0</dev/tty 1>/dev/tty; echo back; read x"});
  EXPECT_TRUE(sees("back"));
  type("\r");
  EXPECT_EQ(exit_code(), 0);
}

}  // namespace
}  // namespace torpor::supervisor
