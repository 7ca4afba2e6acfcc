#include "supervisor/terminal_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

#include "base/error.h"

namespace torpor::supervisor {
namespace {

constexpr std::size_t chunk = 16384;
constexpr std::chrono::milliseconds foreground_poll{200};
constexpr std::chrono::seconds flush_patience{30};

int duplicate(int fd) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) base::throw_system("cannot duplicate fd {}", fd);
  return copy;
}

}  // namespace

TerminalRelay::TerminalRelay(asio::io_context& io, UserTerminal& user, Pty pty,
                             std::function<void()> on_suspend_key)
    : user_(user),
      user_side_(io, duplicate(user.fd())),
      master_(io, pty.master.release()),
      background_timer_(io),
      slave_(std::move(pty.slave)),
      on_suspend_key_(std::move(on_suspend_key)) {}

void TerminalRelay::start() {
  asio::co_spawn(user_side_.get_executor(), carry_input(), asio::detached);
  asio::co_spawn(user_side_.get_executor(), carry_output(), asio::detached);
}

// There is no signal that says that `fg` has made us the foreground while we were running.
asio::awaitable<void> TerminalRelay::wait_in_background() {
  background_timer_.expires_after(foreground_poll);
  std::error_code ignored;
  co_await background_timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  if (!user_.is_hung_up() && user_.is_foreground()) user_.enter_raw();
}

// False when the user's terminal is gone.
asio::awaitable<bool> TerminalRelay::read_keys() {
  std::error_code error;
  co_await user_side_.async_wait(asio::posix::stream_descriptor::wait_read,
                                 asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return false;
  if (!user_.is_raw()) co_return true;  // meanwhile it has become somebody else's
  std::array<char, chunk> bytes;
  const ssize_t got = ::read(user_.fd(), bytes.data(), bytes.size());
  if (got > 0) {
    keys_.assign(bytes.data(), static_cast<std::size_t>(got));
    co_return true;
  }
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) co_return true;
  if (user_.is_hung_up() || got == 0) co_return false;
  user_.leave_raw();  // EIO: no longer in the foreground
  co_return true;
}

asio::awaitable<void> TerminalRelay::type(std::string_view keys) {
  while (!keys.empty()) {
    std::error_code error;
    const std::size_t sent = co_await master_.async_write_some(
        asio::buffer(keys.data(), keys.size()), asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    keys.remove_prefix(sent);
  }
}

asio::awaitable<void> TerminalRelay::carry_input() {
  while (master_.is_open()) {
    bool connected = true;
    if (user_.is_raw()) {
      connected = co_await read_keys();
    } else {
      co_await wait_in_background();
      connected = !user_.is_hung_up();
    }
    if (!connected) {
      hang_up();
      co_return;
    }
    while (!keys_.empty()) {
      const std::size_t until = suspend_key_.find(master_.native_handle(), keys_);
      co_await type(std::string_view(keys_).substr(0, until));
      keys_.erase(0, until);
      if (until != std::string::npos) on_suspend_key_();
    }
  }
}

// Writes what there is to write; false if the user's terminal takes no more just now.
bool TerminalRelay::write_some() {
  while (!output_.empty()) {
    const ssize_t sent = ::write(user_.fd(), output_.data(), output_.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return false;
    // Nobody can see it any more; the program must not be held up by that.
    output_.erase(0, sent < 0 ? std::string::npos : static_cast<std::size_t>(sent));
  }
  return true;
}

asio::awaitable<void> TerminalRelay::carry_output() {
  std::error_code error;
  while (!error) {
    co_await master_.async_wait(asio::posix::stream_descriptor::wait_read,
                                asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    fill_from_master();
    while (!error && !write_some()) {
      co_await user_side_.async_wait(asio::posix::stream_descriptor::wait_write,
                                     asio::redirect_error(asio::use_awaitable, error));
    }
  }
}

void TerminalRelay::fill_from_master() {
  std::array<char, chunk> bytes;
  const ssize_t got = ::read(master_.native_handle(), bytes.data(), bytes.size());
  if (got > 0) output_.append(bytes.data(), static_cast<std::size_t>(got));
}

void TerminalRelay::flush(std::size_t limit) {
  if (!master_.is_open()) return;
  const auto deadline = std::chrono::steady_clock::now() + flush_patience;
  for (std::size_t shown = 0; shown <= limit;) {
    if (!write_some()) {
      pollfd wanted{.fd = user_.fd(), .events = POLLOUT, .revents = 0};
      ::poll(&wanted, 1, 100);
      if (std::chrono::steady_clock::now() > deadline) return;
      continue;
    }
    fill_from_master();
    if (output_.empty()) return;
    shown += output_.size();
  }
}

void TerminalRelay::copy_window_size() {
  const std::optional<winsize> size = window_size(user_.fd());
  if (size && master_.is_open()) set_window_size(master_.native_handle(), *size);
}

void TerminalRelay::hang_up() {
  std::error_code ignored;
  master_.close(ignored);
  slave_.reset();
}

pid_t TerminalRelay::foreground_group() {
  return master_.is_open() ? ::tcgetpgrp(master_.native_handle()) : -1;
}

}  // namespace torpor::supervisor
