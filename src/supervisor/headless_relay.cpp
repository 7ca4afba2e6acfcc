#include "supervisor/headless_relay.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"

namespace torpor::supervisor {
namespace {

constexpr std::size_t chunk = 16384;
// Others may go on to write when the program's root has ended: they do not keep us for ever.
constexpr std::size_t last_output_limit = 1u << 20;

}  // namespace

HeadlessRelay::HeadlessRelay(Pty pty, bool typed)
    : pty_(std::move(pty)), stop_(::eventfd(0, EFD_CLOEXEC)) {
  if (!stop_) base::throw_system("cannot make an eventfd");
  output_ = std::jthread([this] { carry_output(); });
  if (typed) input_ = std::jthread([this] { carry_input(); });
}

HeadlessRelay::~HeadlessRelay() { ::eventfd_write(stop_.get(), 1); }

// False when it is time to end.
bool HeadlessRelay::wait_for(int fd) const {
  while (true) {
    std::array<pollfd, 2> wanted{pollfd{.fd = stop_.get(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = fd, .events = POLLIN, .revents = 0}};
    if (::poll(wanted.data(), wanted.size(), -1) < 0 && errno != EINTR) return false;
    if (wanted[0].revents != 0) return false;
    if (wanted[1].revents != 0) return true;
  }
}

void HeadlessRelay::carry_input() const {
  std::array<char, chunk> bytes{};
  while (wait_for(STDIN_FILENO)) {
    const ssize_t got = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return type_end_of_file();
    type({bytes.data(), static_cast<std::size_t>(got)});
  }
}

void HeadlessRelay::type(std::string_view keys) const {
  while (!keys.empty()) {
    const ssize_t sent = ::write(pty_.master.get(), keys.data(), keys.size());
    if (sent > 0) {
      keys.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      // Full until the program reads. poll() would also report the output, which is not ours.
      pollfd stop{.fd = stop_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&stop, 1, 10) > 0) return;
    } else if (errno != EINTR) {
      return;
    }
  }
}

void HeadlessRelay::type_end_of_file() const {
  const std::optional<termios> modes = terminal_modes(pty_.master.get());
  if (!modes || (modes->c_lflag & ICANON) == 0) return;
  const char key = static_cast<char>(modes->c_cc[VEOF]);
  type({&key, 1});
}

void HeadlessRelay::carry_output() const {
  while (wait_for(pty_.master.get())) pass_output();
  for (std::size_t done = 0; done < last_output_limit && pass_output(); done += chunk) {
  }
}

// False if there is nothing to pass on just now.
bool HeadlessRelay::pass_output() const {
  std::array<char, chunk> bytes{};
  const ssize_t got = ::read(pty_.master.get(), bytes.data(), bytes.size());
  if (got <= 0) return false;
  std::string_view text(bytes.data(), static_cast<std::size_t>(got));
  while (!text.empty()) {
    const ssize_t sent = ::write(STDOUT_FILENO, text.data(), text.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) break;  // nobody reads it any more; the program must not be held up by that
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

}  // namespace torpor::supervisor
