#include "resource/pty.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "resource/descriptors.h"
#include "resource/pty_content.h"
#include "resource/pty_table.h"
#include "resource/terminal.h"

namespace torpor::resource {
namespace {

using Settings = struct ::termios2;

constexpr int kMostTries = 128;  // for the old number
constexpr std::size_t kMostContent = 40960;

[[noreturn]] void bad(const snapshot::OpenFile& file) {
  throw base::Error(base::ErrorCode::bad_image,
                    fmt::format("the record of pseudo terminal {} is damaged", file.id()),
                    "use another generation");
}

int number_asked(int tty, unsigned long request) {
  int number = 0;
  if (::ioctl(tty, request, &number) != 0) base::throw_system("cannot ask a pseudo terminal");
  return number;
}

bool polls(int tty, short event) {
  pollfd state{tty, event, 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & event) != 0;
}

// ---- capture

// Whose calls look into it; it must not be in the background there.
process::AgentClient* looking_agent(dev_t terminal, const CaptureState& state) {
  process::AgentClient* any = nullptr;
  for (const auto& [pid, held] : state.processes) {
    if (held->agent == nullptr) continue;
    if (!controls(terminal, pid)) return held->agent;
    any = held->agent;
  }
  return any;
}

void capture_content(const FileView& view, int master, process::AgentClient& agent,
                     CaptureState& state, snapshot::PtyMaster& saved) {
  if (saved.packet_mode() && polls(master, POLLPRI)) {
    refuse(view, {"a change that its packet mode tells has not been read yet",
                  "let the program read from it, then try again"});
  }
  PtyLook look(master, saved.packet_mode(), agent);
  if (look.has_lines()) {
    refuse(view, {"lines that were typed on this terminal have not been read yet",
                  "let the program read them, then try again"});
  }
  if (look.is_stopped()) {
    if (bytes_waiting(master) != 0) {
      refuse(view, {"output waits on this terminal, and it is stopped (Ctrl-S)", "press Ctrl-Q"});
    }
    state.warnings.push_back(
        fmt::format("the output of /dev/pts/{} is stopped (Ctrl-S): after a restart it goes on",
                    saved.index()));
  }
  saved.set_output(look.output());
  if (!saved.hung_up()) saved.set_input(look.input());
}

class PtyMasterKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "pseudo terminal (master)"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return is_pty_master(view);
  }

  void capture(const FileView& view, CaptureState& state, snapshot::OpenFile& file) const override {
    snapshot::PtyMaster& saved = *file.mutable_pty_master();
    const base::UniqueFd master = view.take();
    const Settings settings = terminal_settings(master.get());
    ::winsize size{};
    if (::ioctl(master.get(), TIOCGWINSZ, &size) != 0) base::throw_system("cannot ask its size");
    saved.set_index(static_cast<unsigned>(number_asked(master.get(), TIOCGPTN)));
    saved.set_termios(&settings, sizeof(settings));
    saved.set_rows(size.ws_row);
    saved.set_columns(size.ws_col);
    saved.set_width_pixels(size.ws_xpixel);
    saved.set_height_pixels(size.ws_ypixel);
    saved.set_packet_mode(number_asked(master.get(), TIOCGPKT) != 0);
    saved.set_locked(number_asked(master.get(), TIOCGPTLCK) != 0);
    saved.set_hung_up(polls(master.get(), POLLHUP));
    const dev_t terminal = gnu_dev_makedev(kPtySlaves, saved.index());
    const TerminalUsers users = users_of_terminal(terminal, state);
    saved.set_session(users.session);
    saved.set_foreground_group(users.foreground_group);
    // What is in one whose slave nobody has opened yet cannot be seen without opening it.
    if (!saved.hung_up() && !PtyTable::of(state).has_slave(key_of_master(view))) return;
    process::AgentClient* agent = looking_agent(terminal, state);
    if (agent != nullptr) capture_content(view, master.get(), *agent, state, saved);
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_pty_master();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState&) const override {
    const snapshot::PtyMaster& saved = file.pty_master();
    if (saved.termios().size() != sizeof(Settings) || saved.output().size() > kMostContent ||
        saved.input().size() > kMostContent) {
      bad(file);
    }
    if (::access("/dev/ptmx", R_OK | W_OK) == 0) return std::nullopt;
    return Refusal{"pseudo terminals cannot be made here: /dev/ptmx cannot be opened",
                   "mount a devpts at /dev/pts, with /dev/ptmx"};
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    const snapshot::PtyMaster& saved = file.pty_master();
    base::UniqueFd master = open_master(saved, state);
    set_up(master.get(), file, state);
    return master;
  }

  // Only now: a locked one cannot be opened.
  void finish_restore(const snapshot::OpenFile& file, RestoreState& state, process::HeldProcess&,
                      int) const override {
    const int locked = 1;
    if (file.pty_master().locked()) {
      ::ioctl(state.open_files.at(file.id()).get(), TIOCSPTLCK, &locked);
    }
  }

 private:
  // The kernel gives the lowest number that is free.
  static base::UniqueFd open_master(const snapshot::PtyMaster& saved, RestoreState& state) {
    std::vector<base::UniqueFd> opened;
    unsigned index = 0;
    for (int i = 0; i < kMostTries; ++i) {
      opened.emplace_back(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
      if (!opened.back()) base::throw_system("cannot make a pseudo terminal");
      index = static_cast<unsigned>(number_asked(opened.back().get(), TIOCGPTN));
      if (index >= saved.index()) break;
    }
    if (index != saved.index()) {
      state.warnings.push_back(fmt::format(
          "the program's terminal /dev/pts/{} is /dev/pts/{} now, for the old number is "
          "taken: what it opens by the old name is another terminal",
          saved.index(), index));
    }
    return std::move(opened.back());
  }

  static void set_up(int master, const snapshot::OpenFile& file, RestoreState& state) {
    const snapshot::PtyMaster& saved = file.pty_master();
    Settings settings{};
    std::memcpy(&settings, saved.termios().data(),
                std::min(saved.termios().size(), sizeof(settings)));
    ::winsize size{};
    size.ws_row = static_cast<unsigned short>(saved.rows());
    size.ws_col = static_cast<unsigned short>(saved.columns());
    size.ws_xpixel = static_cast<unsigned short>(saved.width_pixels());
    size.ws_ypixel = static_cast<unsigned short>(saved.height_pixels());
    const int off = 0;
    if (::ioctl(master, TIOCSPTLCK, &off) != 0 || ::ioctl(master, TIOCSWINSZ, &size) != 0) {
      base::throw_system("cannot set up a pseudo terminal");
    }
    if (has_been_open(file, state)) {
      // It stays open until all is done: without a slave the master would be hung up.
      base::UniqueFd& slave = state.pty_slaves[file.id()];
      slave = open_pty_slave(master, O_RDWR | O_NONBLOCK);
      fill_pty(master, slave.get(), saved.output(), saved.input(), settings);
    } else {
      set_terminal_settings(master, settings);
    }
    const int on = 1;
    if (saved.packet_mode() && ::ioctl(master, TIOCPKT, &on) != 0) {
      base::throw_system("cannot set a pseudo terminal to packet mode");
    }
  }

  static bool has_been_open(const snapshot::OpenFile& master, const RestoreState& state) {
    if (master.pty_master().hung_up() || master.pty_master().session() != 0) return true;
    return std::ranges::any_of(state.model->open_files(), [&](const snapshot::OpenFile& file) {
      return file.has_pty_slave() && file.pty_slave().master() == master.id();
    });
  }
};

class PtySlaveKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "pseudo terminal (slave)"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState& state) const override {
    return master_inside(view, state) != nullptr;
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState&) const override {
    const auto slave = view.take_if_allowed();
    if (!slave || !view.still_there(*slave)) return std::nullopt;
    Settings settings{};
    int discipline = 0;
    int exclusive = 0;
    if (::ioctl(slave->get(), TCGETS2, &settings) != 0 ||
        ::ioctl(slave->get(), TIOCGETD, &discipline) != 0) {
      return Refusal{"this terminal has been hung up", "let the program close it before"};
    }
    if (discipline != 0 || (settings.c_lflag & EXTPROC) != 0) {
      return Refusal{"this terminal has a line discipline that cannot be saved",
                     "let the program set it back before"};
    }
    if (::ioctl(slave->get(), TIOCGEXCL, &exclusive) == 0 && exclusive != 0) {
      return Refusal{"this terminal may be opened by nobody else (TIOCEXCL)",
                     "let the program set it back before"};
    }
    return std::nullopt;
  }

  void capture(const FileView& view, CaptureState&, snapshot::OpenFile& file) const override {
    snapshot::PtySlave& saved = *file.mutable_pty_slave();
    if (is_own_terminal_device(view.status.st_rdev)) return;
    saved.set_mode(view.status.st_mode & 07777);
    saved.set_owner_uid(view.status.st_uid);
  }

  void finish_capture(const FileView& view, CaptureState& state,
                      snapshot::OpenFile& file) const override {
    const Holder* master = master_inside(view, state);
    if (master == nullptr) refuse(view, {"its master is gone", "try again"});
    const auto known = state.open_file_of.find({master->pid, master->fd});
    file.mutable_pty_slave()->set_master(
        known != state.open_file_of.end() ? known->second : state.identify(master->fd));
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_pty_slave();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState& state) const override {
    const auto& files = state.model->open_files();
    const bool there = std::ranges::any_of(files, [&file](const snapshot::OpenFile& other) {
      return other.has_pty_master() && other.id() == file.pty_slave().master();
    });
    if (!there) bad(file);
    return std::nullopt;
  }

  // Not by its name: that may be another terminal's now.
  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    const int master = open_file_made(state, file.pty_slave().master());
    base::UniqueFd slave =
        open_pty_slave(master, static_cast<int>(file.flags() & O_ACCMODE) | O_NONBLOCK);
    set_attributes(slave.get(), file.pty_slave(), state);
    return slave;
  }

 private:
  static void set_attributes(int slave, const snapshot::PtySlave& saved, RestoreState& state) {
    struct ::stat now {};
    if (saved.mode() == 0 || ::fstat(slave, &now) != 0) return;
    if (now.st_uid != saved.owner_uid() && ::geteuid() == 0) {
      static_cast<void>(::fchown(slave, saved.owner_uid(), now.st_gid));
    }
    if ((now.st_mode & 07777) != saved.mode() && ::fchmod(slave, saved.mode()) != 0) {
      state.warnings.push_back(
          fmt::format("the permissions of a terminal cannot be set to {:o} again", saved.mode()));
    }
  }
};

}  // namespace

base::UniqueFd open_pty_slave(int master, int flags) {
  base::UniqueFd slave(::ioctl(master, TIOCGPTPEER, flags | O_NOCTTY));
  if (!slave || ::fcntl(slave.get(), F_SETFD, FD_CLOEXEC) != 0) {
    base::throw_system("cannot open the slave of a pseudo terminal");
  }
  return slave;
}

std::unique_ptr<FileKind> make_pty_master_kind() { return std::make_unique<PtyMasterKind>(); }
std::unique_ptr<FileKind> make_pty_slave_kind() { return std::make_unique<PtySlaveKind>(); }

}  // namespace torpor::resource
