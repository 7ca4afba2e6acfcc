#include "supervisor/launch.h"

#include <fmt/ranges.h>
#include <sys/prctl.h>

#include <algorithm>

#include "base/error.h"
#include "image/store.h"
#include "process/proc_file.h"
#include "process/proc_tree.h"
#include "supervisor/control_client.h"
#include "supervisor/names.h"
#include "supervisor/spawn.h"
#include "supervisor/standard_streams.h"
#include "wrapped/adoption.h"
#include "wrapped/id_table_file.h"

namespace torpor::supervisor {
namespace {

// Another program's images are not to be mixed with ours, nor pushed out by them: a name that was
// not asked for is one that has none.
NameClaim claim_name(const std::optional<std::string>& name, const std::string& program,
                     const std::filesystem::path& store) {
  if (name) return NameClaim::exactly(runtime_directory(), *name);
  return NameClaim::unique(runtime_directory(), base_name(program), image::computations(store));
}

// A pair that looks like the user's terminal.
Pty pty_like(const UserTerminal& user) {
  Pty pty = open_pty();
  if (const auto modes = terminal_modes(user.fd())) {
    ::tcsetattr(pty.slave.get(), TCSANOW, &*modes);
  }
  if (const auto size = window_size(user.fd())) set_window_size(pty.master.get(), *size);
  return pty;
}

control::Status status(control::Status::Origin origin, std::string command) {
  control::Status status;
  status.set_origin(origin);
  status.set_command(std::move(command));
  return status;
}

}  // namespace

int launch(const LaunchOptions& options) {
  Signals signals;
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) base::throw_system("cannot be a subreaper");
  NameClaim name = claim_name(options.name, options.command.front(), options.policy.directory);
  Supervisor supervisor(
      signals, std::move(name), options.policy,
      status(control::Status::LAUNCHED, fmt::format("{}", fmt::join(options.command, " "))));

  std::unique_ptr<UserTerminal> terminal = UserTerminal::find();
  Pty pty = terminal ? pty_like(*terminal) : Pty{};
  const int slave = pty.slave.get();
  const std::array<int, 3> streams = streams_for_program(terminal.get(), slave);
  const OutsideStreams outside = outside_streams(streams);
  // Of the shell that became us by exec, say.
  const std::vector<pid_t> others = process::children_of(::getpid());
  auto wrapped = choose_mode(options.mode, options.stop_signal);
  const auto ids = wrapped::table_for_tests(wrapped);
  const pid_t root =
      spawn({.command = options.command, .streams = streams, .wrapped = wrapped, .terminal = slave},
            signals);
  supervisor.supervise_child(root, outside, others);
  supervisor.set_wrapped(wrapped);
  if (terminal) supervisor.relay_terminal(std::move(terminal), std::move(pty));
  return supervisor.run();
}

void attach(const AttachOptions& options) {
  if (const auto by = managing(runtime_directory(), options.pid)) {
    throw base::Error(base::ErrorCode::conflict,
                      fmt::format("process {} belongs to '{}', which has a supervisor already",
                                  options.pid, by->name()),
                      fmt::format("torpor checkpoint {}", by->name()));
  }
  Signals signals;
  const std::string command = command_line_of(options.pid);
  NameClaim name =
      claim_name(options.name, command.substr(0, command.find(' ')), options.policy.directory);
  Supervisor supervisor(signals, std::move(name), options.policy,
                        status(control::Status::ATTACHED, command));
  supervisor.supervise_stranger(options.pid, outside_streams_of(options.pid));
  if (auto adopted = wrapped::computation_of(options.pid)) {
    supervisor.set_wrapped(adopted->computation, std::move(adopted->ids));
  }
  supervisor.run();
}

std::string command_line_of(pid_t pid) {
  std::string words;
  try {
    words = process::read_proc_file(pid, "cmdline");
  } catch (const base::Error&) {
    return {};
  }
  while (words.ends_with('\0')) words.pop_back();
  std::ranges::replace(words, '\0', ' ');
  return words;
}

}  // namespace torpor::supervisor
