#include "supervisor/signals.h"

#include <pthread.h>
#include <unistd.h>

#include <array>

#include "base/error.h"

namespace torpor::supervisor {
namespace {

// SIGTTIN and SIGTTOU are only kept from stopping us when the terminal changes hands between a look
// and a read or write.
constexpr std::array our_signals{SIGCHLD, SIGCONT, SIGWINCH, SIGTSTP, SIGTTIN, SIGTTOU,
                                 SIGTERM, SIGINT,  SIGHUP,   SIGQUIT, SIGUSR1, SIGUSR2};

sigset_t set_of_ours() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : our_signals) ::sigaddset(&set, signal);
  return set;
}

}  // namespace

Signals::Signals() {
  const sigset_t ours = set_of_ours();
  ::pthread_sigmask(SIG_BLOCK, &ours, &mask_before_);
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &action, &child_before_);
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, &pipe_before_);
  fd_.reset(::signalfd(-1, &ours, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd_) base::throw_system("cannot make a signalfd");
}

Signals::~Signals() { restore_in_child(); }

void Signals::restore_in_child() const {
  ::sigaction(SIGCHLD, &child_before_, nullptr);
  ::sigaction(SIGPIPE, &pipe_before_, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

std::optional<signalfd_siginfo> Signals::next() {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
  return info;
}

void Signals::stop_job() {
  sigset_t stop;
  ::sigemptyset(&stop);
  ::sigaddset(&stop, SIGTSTP);
  ::kill(0, SIGTSTP);
  ::pthread_sigmask(SIG_UNBLOCK, &stop, nullptr);  // here we stop
  ::pthread_sigmask(SIG_BLOCK, &stop, nullptr);
}

}  // namespace torpor::supervisor
