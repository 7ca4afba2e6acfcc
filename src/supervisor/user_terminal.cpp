#include "supervisor/user_terminal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace torpor::supervisor {
namespace {

bool is_pipe_or_socket(int fd) {
  struct stat facts {};
  return ::fstat(fd, &facts) == 0 && (S_ISFIFO(facts.st_mode) || S_ISSOCK(facts.st_mode));
}

bool same_terminal(int one, int other) {
  struct stat a {};
  struct stat b {};
  return ::fstat(one, &a) == 0 && ::fstat(other, &b) == 0 && a.st_rdev == b.st_rdev;
}

base::UniqueFd open_again(int fd) {
  const std::string path = fmt::format("/proc/self/fd/{}", fd);
  base::UniqueFd own(::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!own) own.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 3));  // another user's: after su, for example
  if (!own) base::throw_system("cannot open the terminal of fd {}", fd);
  return own;
}

}  // namespace

UserTerminal::UserTerminal(base::UniqueFd fd, std::array<bool, 3> streams)
    : fd_(std::move(fd)), flags_(::fcntl(fd_.get(), F_GETFL)), streams_(streams) {}

UserTerminal::~UserTerminal() {
  leave_raw();
  ::fcntl(fd_.get(), F_SETFL, flags_);
}

std::unique_ptr<UserTerminal> UserTerminal::find() {
  if (is_pipe_or_socket(1)) return nullptr;
  int first = 0;
  while (first < 3 && ::isatty(first) == 0) ++first;
  if (first == 3) return nullptr;
  std::array<bool, 3> streams{};
  for (int fd = first; fd < 3; ++fd) {
    streams[static_cast<std::size_t>(fd)] = ::isatty(fd) != 0 && same_terminal(first, fd);
  }
  return std::unique_ptr<UserTerminal>(new UserTerminal(open_again(first), streams));
}

bool UserTerminal::is_foreground() const {
  const pid_t group = ::tcgetpgrp(fd_.get());
  // Not our controlling terminal: then there is no job control that could forbid anything.
  if (group < 0) return errno == ENOTTY && ::isatty(fd_.get()) != 0;
  return group == ::getpgrp();
}

bool UserTerminal::is_hung_up() const {
  termios modes{};
  return ::tcgetattr(fd_.get(), &modes) < 0;
}

void UserTerminal::leave_raw() {
  if (raw_ && !is_foreground()) raw_->abandon();
  raw_.reset();
}

void UserTerminal::enter_raw() {
  leave_raw();  // anew, even if it was: the shell may have set modes of its own while we were
                // stopped
  if (is_foreground()) raw_.emplace(fd_.get());
}

}  // namespace torpor::supervisor
