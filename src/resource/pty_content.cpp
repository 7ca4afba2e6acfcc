#include "resource/pty_content.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace torpor::resource {
namespace {

using Settings = struct ::termios2;

// A queue holds 4 KiB, what is on its way some 16, depending on how it was written: in pieces of
// this size there is room for as much as in any (drivers/tty/pty.c, tty_buffer.c).
constexpr std::size_t kPieceBytes = 1000;
constexpr std::size_t kPieces = 32;
constexpr int kPatienceMs = 5000;
// Nobody is woken when the kernel has made room by moving bytes on.
constexpr int kMovingMs = 20;

// Bytes go through it as they are, in either direction. Flow control stays as it is, for a change
// is told to a master in packet mode, and would let a stopped terminal go.
Settings transparent(Settings settings) {
  const auto start = settings.c_cc[VSTART];
  const auto stop = settings.c_cc[VSTOP];
  settings.c_iflag &= IXON;
  settings.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  settings.c_lflag &= ICANON;
  for (cc_t& character : settings.c_cc) character = 0;
  settings.c_cc[VSTART] = start;
  settings.c_cc[VSTOP] = stop;
  settings.c_cc[VMIN] = 1;
  return settings;
}

Settings unprocessed_output(Settings settings) {
  settings.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  return settings;
}

bool in_line_mode(const Settings& settings) { return (settings.c_lflag & ICANON) != 0; }

// Also makes the kernel finish what it was moving, if there was nothing to read yet.
short ready(int tty, short events, int timeout_ms = 0) {
  pollfd state{tty, events, 0};
  if (::poll(&state, 1, timeout_ms) < 0) base::throw_system("cannot poll a terminal");
  return state.revents;
}

struct Pieces {
  std::vector<base::RemotePtr> places;
  std::vector<std::size_t> reads;
  std::vector<std::size_t> writes;
};

void add_room(process::Batch& batch, Pieces& pieces) {
  for (std::size_t i = 0; i < kPieces; ++i) pieces.places.push_back(batch.space(kPieceBytes));
}

void add_reads(process::Batch& batch, int fd, Pieces& pieces) {
  for (const base::RemotePtr place : pieces.places) {
    pieces.reads.push_back(batch.try_call(SYS_read, {fd, place, kPieceBytes}));
  }
}

// A read that failed makes an impossible length, with which nothing is written.
void add_writes(process::Batch& batch, int fd, Pieces& pieces) {
  const base::RemotePtr writable = batch.value(pollfd{fd, POLLOUT, 0});
  for (std::size_t i = 0; i < kPieces; ++i) {
    batch.try_call(SYS_poll, {writable, 1, kMovingMs});
    pieces.writes.push_back(
        batch.try_call(SYS_write, {fd, pieces.places[i], process::ResultOf{pieces.reads[i]}}));
  }
}

// After run_and_fetch().
std::string taken(const process::Batch& batch, const Pieces& pieces) {
  std::string bytes;
  for (std::size_t i = 0; i < kPieces; ++i) {
    const std::int64_t got = batch.result(pieces.reads[i]);
    if (got == -EIO && i == 0) base::throw_errno(EIO, "cannot look into a pseudo terminal");
    if (got <= 0) return bytes;
    const auto piece = batch.fetched(pieces.places[i], static_cast<std::size_t>(got));
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    if (batch.result(pieces.writes[i]) != got) {
      throw base::Error(base::ErrorCode::io,
                        fmt::format("{} of {} bytes of a pseudo terminal could be put back",
                                    batch.result(pieces.writes[i]), got));
    }
  }
  throw base::Error(base::ErrorCode::internal, "a pseudo terminal holds more than it can hold");
}

agent::Call undoing(std::int64_t number, std::uint64_t fd, std::uint64_t what,
                    std::uint64_t value) {
  agent::Call call{};
  call.number = number;
  call.args[0] = fd;
  call.args[1] = what;
  call.args[2] = value;
  call.may_fail = 1;
  return call;
}

// In line mode no more than the part of a line, which nobody is told of: a look for what can be
// read makes the kernel finish.
bool has_arrived(int slave, std::size_t bytes, bool line_mode) {
  for (int i = 0; i < kPatienceMs; ++i) {
    ready(slave, POLLIN);
    if (line_mode || bytes_waiting(slave) >= std::min(bytes, kReadableBytes)) return true;
    ::usleep(1000);
  }
  return false;
}

void write_all(int tty, std::string_view bytes) {
  for (int waited = 0; !bytes.empty();) {
    const ssize_t written = ::write(tty, bytes.data(), std::min(bytes.size(), kPieceBytes));
    if (written > 0) bytes.remove_prefix(static_cast<std::size_t>(written));
    if (written >= 0) continue;
    if (errno != EAGAIN || waited++ > kPatienceMs / kMovingMs) {
      base::throw_system("cannot fill a pseudo terminal");
    }
    ready(tty, POLLOUT, kMovingMs);
  }
}

}  // namespace

Settings terminal_settings(int tty) {
  Settings settings{};
  if (::ioctl(tty, TCGETS2, &settings) != 0) {
    base::throw_system("cannot read the terminal's settings");
  }
  return settings;
}

void set_terminal_settings(int tty, const Settings& settings) {
  if (::ioctl(tty, TCSETS2, &settings) != 0) base::throw_system("cannot set up a terminal");
}

std::size_t bytes_waiting(int tty) {
  ready(tty, POLLIN);
  int bytes = 0;
  if (::ioctl(tty, FIONREAD, &bytes) != 0) base::throw_system("cannot ask a terminal what waits");
  return static_cast<std::size_t>(bytes);
}

PtyLook::PtyLook(int master, bool packet_mode, process::AgentClient& agent)
    : master_(master),
      packet_mode_(packet_mode),
      agent_(agent),
      settings_(terminal_settings(master)),
      flags_(::fcntl(master, F_GETFL)),
      agents_master_(agent.give_fd_anywhere(master)) {
  if (flags_ < 0) base::throw_system("cannot read the flags of a pseudo terminal");
  agents_slave_ =
      static_cast<int>(agent.call(SYS_ioctl, {agents_master_, TIOCGPTPEER, O_RDWR | O_NOCTTY},
                                  "open the slave of a pseudo terminal"));
  slave_ = agent.take_fd(agents_slave_);
}

PtyLook::~PtyLook() {
  try {
    process::Batch batch(agent_);
    for (const int fd : {agents_slave_, agents_master_}) {
      if (fd >= 0) batch.try_call(SYS_close, {fd});
    }
    batch.run();
  } catch (const base::Error&) {
    // It is gone, and its descriptors with it.
  }
}

bool PtyLook::is_stopped() const {
  return (ready(slave_.get(), POLLOUT) & POLLOUT) == 0 && bytes_waiting(master_) < kReadableBytes;
}

bool PtyLook::has_lines() const {
  return in_line_mode(settings_) && (ready(slave_.get(), POLLIN) & POLLIN) != 0;
}

// No call may end the batch: the later ones put back what the earlier ones have changed.
std::string PtyLook::output() {
  if (bytes_waiting(master_) == 0) return {};
  process::Batch batch(agent_);
  Pieces pieces;
  const int packets = 1;
  const int no_packets = 0;
  const base::RemotePtr with_packets = batch.value(packets);
  const base::RemotePtr without = batch.value(no_packets);
  const base::RemotePtr before = batch.value(settings_);
  const base::RemotePtr meanwhile = batch.value(unprocessed_output(settings_));
  add_room(batch, pieces);
  batch.try_call(SYS_fcntl, {agents_master_, F_SETFL, flags_ | O_NONBLOCK});
  if (packet_mode_) batch.try_call(SYS_ioctl, {agents_master_, TIOCPKT, without});
  batch.try_call(SYS_ioctl, {agents_slave_, TCSETS2, meanwhile});
  add_reads(batch, agents_master_, pieces);
  add_writes(batch, agents_slave_, pieces);
  batch.try_call(SYS_ioctl, {agents_slave_, TCSETS2, before});
  if (packet_mode_) batch.try_call(SYS_ioctl, {agents_master_, TIOCPKT, with_packets});
  batch.try_call(SYS_fcntl, {agents_master_, F_SETFL, flags_});
  batch.run_and_fetch();
  return taken(batch, pieces);
}

// In line mode only reading tells whether there is the part of a line. The settings may go back
// only when the kernel has moved all bytes through the other ones; if we are killed before that,
// the agent puts them back.
std::string PtyLook::input() {
  if (!in_line_mode(settings_) && bytes_waiting(slave_.get()) == 0) return {};
  process::Batch batch(agent_);
  Pieces pieces;
  Settings by_byte = transparent(settings_);
  by_byte.c_lflag &= ~static_cast<tcflag_t>(ICANON);
  const base::RemotePtr before = batch.value(settings_);
  const base::RemotePtr reading = batch.value(by_byte);
  const base::RemotePtr writing = batch.value(transparent(settings_));
  const auto master = static_cast<std::uint64_t>(agents_master_);
  const std::array undo{undoing(SYS_ioctl, master, TCSETS2, before.address()),
                        undoing(SYS_fcntl, master, F_SETFL, static_cast<std::uint64_t>(flags_))};
  const base::RemotePtr undo_calls = batch.value(undo);
  add_room(batch, pieces);
  const int slave_flags = O_RDWR | O_NONBLOCK;
  batch.call(agent::kSetUndo, {undo_calls, undo.size()}, "prepare for being killed");
  batch.try_call(SYS_fcntl, {agents_slave_, F_SETFL, slave_flags});
  batch.try_call(SYS_fcntl, {agents_master_, F_SETFL, flags_ & ~O_NONBLOCK});
  batch.try_call(SYS_ioctl, {agents_master_, TCSETS2, reading});
  add_reads(batch, agents_slave_, pieces);
  batch.try_call(SYS_ioctl, {agents_master_, TCSETS2, writing});
  add_writes(batch, agents_master_, pieces);
  batch.run_and_fetch();
  std::string input;
  bool arrived = false;
  try {
    input = taken(batch, pieces);
    arrived = has_arrived(slave_.get(), input.size(), in_line_mode(settings_));
  } catch (const base::Error&) {
    put_settings_back();
    throw;
  }
  put_settings_back();
  if (!arrived) {
    throw base::Error(base::ErrorCode::io, "a pseudo terminal does not take what was in it");
  }
  return input;
}

void PtyLook::put_settings_back() {
  process::Batch batch(agent_);
  const base::RemotePtr before = batch.value(settings_);
  batch.try_call(SYS_ioctl, {agents_master_, TCSETS2, before});
  batch.try_call(SYS_fcntl, {agents_master_, F_SETFL, flags_});
  batch.call(agent::kSetUndo, {0, 0}, "forget what was prepared");
  batch.run();
}

void fill_pty(int master, int slave, const std::string& output, const std::string& input,
              const Settings& settings) {
  set_terminal_settings(master, transparent(settings));
  write_all(master, input);
  if (!has_arrived(slave, input.size(), in_line_mode(settings))) {
    throw base::Error(base::ErrorCode::io, "a pseudo terminal does not take what was in it");
  }
  write_all(slave, output);
  set_terminal_settings(master, settings);
}

}  // namespace torpor::resource
