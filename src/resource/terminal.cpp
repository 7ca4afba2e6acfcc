#include "resource/terminal.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include <optional>

#include "base/error.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "resource/file_path.h"
#include "resource/standard_stream.h"

namespace torpor::resource {
namespace {

// Documentation/admin-guide/devices.txt
constexpr unsigned kConsoles = 4;    // tty1, ttyS0
constexpr unsigned kAlternates = 5;  // /dev/tty, console, ptmx
constexpr unsigned kFirstPts = 136;  // eight of them
constexpr unsigned kLastPts = 143;
constexpr unsigned kUsbSerial = 188;
constexpr unsigned kLowDensity = 204;  // ttyAMA0 ...
constexpr unsigned kHypervisor = 229;  // hvc0

// The terminal behind /dev/tty too. TIOCGDEV: Linux 2.6.33, in the kernel's new_encode_dev() form,
// which is that of st_rdev for all numbers that terminals have.
dev_t device_of(int tty) {
  unsigned device = 0;
  if (::ioctl(tty, TIOCGDEV, &device) != 0) base::throw_system("cannot ask a terminal's number");
  return gnu_dev_makedev((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
}

dev_t controlling_terminal(const process::Stat& stat) {
  const auto device = static_cast<unsigned>(stat.tty_nr);
  return gnu_dev_makedev((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
}

// A group or session of the computation as its processes see it; 0: none of theirs.
int seen_id(const CaptureState& state, std::vector<pid_t> process::Status::*inwards,
            pid_t process::Stat::*id, pid_t wanted) {
  for (const auto& [pid, held] : state.processes) {
    if (held->agent == nullptr || process::read_stat(pid).*id != wanted) continue;
    return held->seen(wanted, process::read_status(pid).*inwards);
  }
  return 0;
}

bool is_led_from_inside(const CaptureState& state, pid_t session) {
  return state.processes.contains(session);
}

void capture_terminal(int tty, const CaptureState& state, snapshot::Terminal& terminal) {
  struct ::termios2 settings {};
  struct ::winsize size {};
  if (::ioctl(tty, TCGETS2, &settings) != 0 || ::ioctl(tty, TIOCGWINSZ, &size) != 0) {
    base::throw_system("cannot read the terminal's settings");
  }
  terminal.set_termios(&settings, sizeof(settings));
  terminal.set_rows(size.ws_row);
  terminal.set_columns(size.ws_col);
  const TerminalUsers users = users_of_terminal(device_of(tty), state);
  terminal.set_session(users.session);
  terminal.set_foreground_group(users.foreground_group);
}

class TerminalKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "terminal"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return is_terminal(view);
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState& state) const override {
    const dev_t device = view.status.st_rdev;
    if (is_own_terminal_device(device) || outside_stream(view, state)) return std::nullopt;
    if (view.pid != 0 && controlling_terminal(process::read_stat(view.pid)) == device) {
      return std::nullopt;
    }
    return Refusal{
        "it is a terminal that is not the program's own",
        "launch it together with the program that holds the terminal's other side, or close it"};
  }

  void capture(const FileView& view, CaptureState& state, snapshot::OpenFile& file) const override {
    snapshot::StandardStream& standard = *file.mutable_standard();
    const bool reads = (view.info.flags & O_ACCMODE) == O_RDONLY;
    standard.set_stream(outside_stream(view, state).value_or(reads ? 0 : 1));
    standard.set_terminal(true);
    standard.set_was(view.target);
    if (!state.model->has_terminal()) {
      capture_terminal(view.take().get(), state, *state.model->mutable_terminal());
    }
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_standard() && file.standard().terminal();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState& state) const override {
    if (state.terminal >= 0) return std::nullopt;
    return check_stream(file, state);
  }

  // A description of its own: its flags are the program's.
  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    if (state.terminal < 0) {
      state.warnings.push_back(
          fmt::format("{} was a terminal and is standard stream {} of this command now: the "
                      "program may find no "
                      "terminal there",
                      file.standard().was(), file.standard().stream()));
      return duplicate_stream(file, state);
    }
    return reopen_descriptor(state.terminal, file, state);
  }

  [[nodiscard]] bool is_ours(const snapshot::OpenFile&, const RestoreState& state) const override {
    return state.terminal >= 0;
  }
};

}  // namespace

bool is_own_terminal_device(dev_t device) { return device == gnu_dev_makedev(kAlternates, 0); }

dev_t terminal_behind(const FileView& view) {
  const auto taken = view.take_if_allowed();
  if (taken && view.still_there(*taken)) return device_of(taken->get());
  return view.pid == 0 ? 0 : controlling_terminal(process::read_stat(view.pid));
}

TerminalUsers users_of_terminal(dev_t device, const CaptureState& state) {
  TerminalUsers users;
  for (const auto& [pid, held] : state.processes) {
    if (held->agent == nullptr) continue;
    const process::Stat stat = process::read_stat(pid);
    if (controlling_terminal(stat) != device) continue;
    users.foreground_group =
        seen_id(state, &process::Status::nspgid, &process::Stat::pgrp, stat.tpgid);
    if (is_led_from_inside(state, stat.session)) {
      users.session =
          seen_id(state, &process::Status::nssid, &process::Stat::session, stat.session);
    }
    break;
  }
  return users;
}

bool controls(dev_t device, pid_t pid) {
  return controlling_terminal(process::read_stat(pid)) == device;
}

bool is_terminal(const FileView& view) {
  if (!S_ISCHR(view.status.st_mode)) return false;
  const unsigned number = gnu_dev_major(view.status.st_rdev);
  if (number == kAlternates) return gnu_dev_minor(view.status.st_rdev) < 2;
  return (number >= kFirstPts && number <= kLastPts) || number == kConsoles ||
         number == kUsbSerial || number == kLowDensity || number == kHypervisor;
}

void restore_terminal(int tty, const snapshot::Terminal& terminal) {
  struct ::termios2 settings {};
  if (terminal.termios().size() != sizeof(settings)) {
    throw base::Error(base::ErrorCode::bad_image, "the terminal's settings have a wrong size");
  }
  terminal.termios().copy(reinterpret_cast<char*>(&settings), sizeof(settings));
  struct ::winsize size {};
  size.ws_row = static_cast<unsigned short>(terminal.rows());
  size.ws_col = static_cast<unsigned short>(terminal.columns());
  // We may be in the background of that terminal: the kernel would stop us (SIGTTOU, termios(3)).
  sigset_t stopping;
  sigset_t before;
  sigemptyset(&stopping);
  sigaddset(&stopping, SIGTTOU);
  ::pthread_sigmask(SIG_BLOCK, &stopping, &before);
  const bool done = ::ioctl(tty, TCSETS2, &settings) == 0 && ::ioctl(tty, TIOCSWINSZ, &size) == 0;
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!done) base::throw_errno(error, "cannot set the terminal up as it was");
}

std::unique_ptr<FileKind> make_terminal_kind() { return std::make_unique<TerminalKind>(); }

}  // namespace torpor::resource
