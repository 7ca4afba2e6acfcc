#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <mutex>

#include "cli/units.h"

namespace torpor::cli {
namespace {

constexpr std::chrono::milliseconds quiet_time{500};
constexpr std::chrono::milliseconds refresh{100};
constexpr std::size_t bar_width = 30;
constexpr std::size_t usual_width = 80;

void write_error(std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

std::size_t terminal_width() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : usual_width;
}

std::string bar(double part) {
  const auto full = static_cast<std::size_t>(part * bar_width);
  return "[" + std::string(full, '#') + std::string(bar_width - full, '.') + "]";
}

std::jthread start_without_signals(auto work) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::jthread thread(std::move(work));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace

std::string render_progress(const std::string& label, std::uint64_t done, std::uint64_t total,
                            std::chrono::nanoseconds elapsed, std::size_t width) {
  const double seconds = std::chrono::duration<double>(elapsed).count();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  std::string line = label;
  const auto add = [&](const std::string& part) {
    if (line.size() + 2 + part.size() <= width) line += "  " + part;
  };
  if (total > 0) {
    // The total grows while it is being found out, and may lag behind.
    const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    add(fmt::format("{:3.0f}%", part * 100));
    add(fmt::format("{} of {}", format_bytes(done), format_bytes(std::max(done, total))));
  } else {
    add(format_bytes(done));
  }
  if (rate > 0) add(fmt::format("{}/s", format_bytes(static_cast<std::uint64_t>(rate))));
  if (rate > 0 && total > done) {
    const std::chrono::duration<double> left(static_cast<double>(total - done) / rate);
    if (left < std::chrono::hours(1000)) {
      add(format_span(std::chrono::duration_cast<std::chrono::nanoseconds>(left)) + " left");
    }
  }
  if (total > 0) {
    add(bar(std::min(1.0, static_cast<double>(done) / static_cast<double>(total))));
  }
  return line.substr(0, width);
}

ProgressLine::ProgressLine(std::string label)
    : label_(std::move(label)),
      began_(std::chrono::steady_clock::now()),
      terminal_(::isatty(STDERR_FILENO) != 0) {}

void ProgressLine::show(std::uint64_t done, std::uint64_t total) {
  const auto elapsed = std::chrono::steady_clock::now() - began_;
  if (!terminal_ || elapsed < quiet_time) return;
  // One column stays free: a line that fills the terminal would wrap.
  const std::string line = render_progress(label_, done, total, elapsed, terminal_width() - 1);
  write_error("\r" + line + "\x1b[K");
  shown_ = true;
}

void ProgressLine::clear() {
  if (std::exchange(shown_, false)) write_error("\r\x1b[K");
}

ProgressWatcher::ProgressWatcher(std::string label, const base::Progress& progress)
    : line_(std::move(label)) {
  thread_ = start_without_signals([this, &progress](const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, stop, refresh, [] { return false; }) && !stop.stop_requested()) {
      line_.show(progress.bytes_done, progress.bytes_total);
    }
  });
}

void ProgressWatcher::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  line_.clear();
}

}  // namespace torpor::cli
