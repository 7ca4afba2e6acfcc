#include "supervisor/raw_mode.h"

#include <array>
#include <atomic>
#include <csignal>

#include "base/error.h"

namespace torpor::supervisor {
namespace {

constexpr std::array fatal_signals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};

// What the handler of a fatal signal restores. A handler reaches nothing but globals.
struct Restore {
  std::atomic<int> fd{-1};
  termios modes{};
};

Restore& to_restore() {
  static constinit Restore restore;
  return restore;
}

void restore_and_die(int signal) {
  const int fd = to_restore().fd.load();
  if (fd >= 0) ::tcsetattr(fd, TCSANOW, &to_restore().modes);
  // SA_RESETHAND has put the default back: now it ends us, with the right status.
  ::raise(signal);
}

void set_handlers(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESETHAND | SA_NODEFER;
  for (const int signal : fatal_signals) ::sigaction(signal, &action, nullptr);
}

}  // namespace

RawMode::RawMode(int fd) : fd_(fd) {
  if (::tcgetattr(fd, &before_) < 0) base::throw_system("cannot read the modes of the terminal");
  to_restore().modes = before_;
  to_restore().fd = fd;
  set_handlers(restore_and_die);
  termios raw = before_;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSADRAIN, &raw) < 0) {
    to_restore().fd = -1;
    base::throw_system("cannot set the modes of the terminal");
  }
}

void RawMode::abandon() {
  to_restore().fd = -1;
  fd_ = -1;
}

RawMode::~RawMode() {
  if (fd_ >= 0) ::tcsetattr(fd_, TCSADRAIN, &before_);
  to_restore().fd = -1;
  set_handlers(SIG_DFL);
}

}  // namespace torpor::supervisor
