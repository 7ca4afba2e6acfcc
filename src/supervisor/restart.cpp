#include "supervisor/restart.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

#include "base/error.h"
#include "image/image_reader.h"
#include "resource/terminal.h"
#include "supervisor/headless_relay.h"
#include "supervisor/launch.h"
#include "supervisor/standard_streams.h"

namespace torpor::supervisor {
namespace {

// While the program is not there yet, a signal that would have ended us cancels the work. When it
// has come too late for that, or is another, it is meant for the program: all are kept in `taken`.
class CancelOnSignal {
 public:
  CancelOnSignal(Signals& signals, base::Progress& progress, std::vector<signalfd_siginfo>& taken)
      : taken_(taken),
        stop_(::eventfd(0, EFD_CLOEXEC)),
        thread_([this, &signals, &progress] { watch(signals, progress); }) {}
  ~CancelOnSignal() { ::eventfd_write(stop_.get(), 1); }
  CancelOnSignal(const CancelOnSignal&) = delete;
  CancelOnSignal& operator=(const CancelOnSignal&) = delete;

 private:
  static bool ends_us(unsigned signal) {
    return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT;
  }

  void watch(Signals& signals, base::Progress& progress) {
    while (true) {
      std::array<pollfd, 2> wanted{pollfd{.fd = stop_.get(), .events = POLLIN, .revents = 0},
                                   pollfd{.fd = signals.fd(), .events = POLLIN, .revents = 0}};
      if (::poll(wanted.data(), wanted.size(), -1) < 0 && errno != EINTR) return;
      if (wanted[0].revents != 0) return;
      const std::optional<signalfd_siginfo> info = signals.next();
      if (!info) continue;
      if (ends_us(info->ssi_signo)) progress.cancelled = true;
      taken_.push_back(*info);
    }
  }

  std::vector<signalfd_siginfo>& taken_;
  base::UniqueFd stop_;
  std::jthread thread_;
};

// The number of its /dev/pts/N is one that a terminal of the program's own had.
bool takes_number(const Pty& pty, const snapshot::Computation& model) {
  unsigned number = 0;
  if (::ioctl(pty.master.get(), TIOCGPTN, &number) != 0) return false;
  return std::ranges::any_of(model.open_files(), [number](const snapshot::OpenFile& file) {
    return file.has_pty_master() && file.pty_master().index() == number;
  });
}

// As the program knew it; the size of the user's own window follows when it can take the signal.
Pty pty_as_before(const snapshot::Computation& model) {
  std::vector<Pty> opened;
  do {
    opened.push_back(open_pty());
  } while (takes_number(opened.back(), model));
  resource::restore_terminal(opened.back().slave.get(), model.terminal());
  return std::move(opened.back());
}

restart::Restarted bring_back(const RestartOptions& options, const std::array<int, 3>& streams,
                              int terminal, Signals& signals, base::Progress& progress,
                              std::vector<signalfd_siginfo>& taken) {
  const CancelOnSignal guard(signals, progress, taken);
  return restart::run({.image = options.image,
                       .identity = options.identity,
                       .streams = streams,
                       .terminal = terminal,
                       .accept_changed_files = options.accept_changed_files},
                      progress);
}

control::Started describe(const restart::Restarted& restarted, const std::string& name) {
  control::Started started;
  started.set_name(name);
  started.set_root_pid(restarted.root);
  started.set_supervisor_pid(::getpid());
  for (const std::string& warning : restarted.warnings) started.add_warnings(warning);
  return started;
}

std::string command_of(const snapshot::Computation& computation) {
  for (const snapshot::Process& process : computation.processes()) {
    if (process.pid() == computation.root_pid()) return process.layout().executable();
  }
  return {};
}

control::Status status_for(const snapshot::Manifest& manifest, const RestartOptions& options) {
  control::Status status;
  status.set_origin(control::Status::RESTARTED);
  status.set_command(command_of(manifest.computation()));
  status.set_generation(manifest.generation());
  status.set_checkpoint_ns(manifest.created_ns());
  status.set_image(options.image.string());
  return status;
}

}  // namespace

int restart(const RestartOptions& options, base::Progress& progress, const OnStarted& on_started) {
  const snapshot::Manifest manifest = image::Image::open(options.image).manifest();
  const std::string name = options.name.value_or(manifest.name());
  Signals signals;
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) base::throw_system("cannot be a subreaper");
  Supervisor supervisor(signals, NameClaim::exactly(runtime_directory(), name), options.policy,
                        status_for(manifest, options));

  // A program that had a terminal gets one again, whether or not there is a user for it.
  const bool wants_terminal = manifest.computation().has_terminal();
  std::unique_ptr<UserTerminal> terminal = wants_terminal ? UserTerminal::find() : nullptr;
  Pty pty = wants_terminal ? pty_as_before(manifest.computation()) : Pty{};
  const int slave = pty.slave.get();
  const std::array<int, 3> streams = streams_for_program(terminal.get(), slave);
  std::vector<signalfd_siginfo> taken;
  restart::Restarted restarted = bring_back(options, streams, slave, signals, progress, taken);
  on_started(describe(restarted, name));
  supervisor.supervise_restored(std::move(restarted), outside_streams(streams));
  std::optional<HeadlessRelay> relay_without_user;
  if (terminal) {
    supervisor.relay_terminal(std::move(terminal), std::move(pty));
  } else if (wants_terminal) {
    relay_without_user.emplace(std::move(pty), !options.background);
  }
  for (const signalfd_siginfo& info : taken) supervisor.on_signal(info);
  return supervisor.run();
}

}  // namespace torpor::supervisor
