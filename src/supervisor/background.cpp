// restart_in_background(): the process that stays, and the one that waits until it is on its way.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "supervisor/framing.h"
#include "supervisor/replies.h"
#include "supervisor/restart.h"

namespace torpor::supervisor {
namespace {

constexpr std::chrono::milliseconds report_every{100};

// Writes a message to the process that waits; false when nobody does any more.
bool tell(int fd, const control::Reply& reply) {
  std::string frame = encode_frame(reply);
  while (!frame.empty()) {
    const ssize_t sent = ::send(fd, frame.data(), frame.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    frame.erase(0, static_cast<std::size_t>(sent));
  }
  return true;
}

// Tells how far the work is until it is done. It is cancelled when nobody listens.
class Reporter {
 public:
  Reporter(int fd, base::Progress& progress)
      : thread_([fd, &progress](const std::stop_token& stop) {
          std::mutex lock;
          std::condition_variable_any told_to_stop;
          while (!stop.stop_requested()) {
            control::Reply reply;
            reply.mutable_progress()->set_bytes_done(progress.bytes_done);
            reply.mutable_progress()->set_bytes_total(progress.bytes_total);
            reply.mutable_progress()->set_phase(control::Progress::WRITING);
            if (!tell(fd, reply)) progress.cancelled = true;
            std::unique_lock held(lock);
            told_to_stop.wait_for(held, stop, report_every, [] { return false; });
          }
        }) {}

  void stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::jthread thread_;
};

void redirect_streams(const std::optional<std::filesystem::path>& output) {
  const base::UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  base::UniqueFd log;
  if (output) {
    log.reset(::open(output->c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!log) base::throw_system("cannot open {}", output->string());
  }
  const int out = log ? log.get() : null.get();
  if (::dup2(null.get(), 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(out, 2) < 0) {
    base::throw_system("cannot redirect the standard streams");
  }
}

int restart_and_tell(const RestartOptions& options,
                     const std::optional<std::filesystem::path>& output, base::UniqueFd channel) {
  base::Progress progress;
  control::Reply reply;
  try {
    redirect_streams(output);
    if (::chdir("/") < 0) base::throw_system("cannot go to /");
    Reporter reporter(channel.get(), progress);
    return restart(options, progress, [&](const control::Started& started) {
      reporter.stop();
      *reply.mutable_started() = started;
      tell(channel.get(), reply);
      channel.reset();
    });
  } catch (const base::Error& error) {
    *reply.mutable_error() = to_message(error);
  } catch (const std::exception& error) {
    *reply.mutable_error() = to_message({base::ErrorCode::internal, error.what()});
  }
  if (channel) tell(channel.get(), reply);
  return reply.error().code();
}

// Twice, so that the one that stays is nobody's child, and can never get a controlling terminal.
[[noreturn]] void run_in_background(const RestartOptions& options,
                                    const std::optional<std::filesystem::path>& output,
                                    base::UniqueFd channel) {
  ::setsid();
  const pid_t pid = ::fork();
  if (pid != 0) ::_exit(pid < 0 ? 1 : 0);
  ::_exit(restart_and_tell(options, output, std::move(channel)));
}

control::Reply next_reply(int fd, FrameReader& reader) {
  control::Reply reply;
  std::array<char, 4096> bytes{};
  while (!reader.next(reply)) {
    const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw base::Error(base::ErrorCode::internal,
                        "the background process ended before the program was running");
    }
    reader.feed({bytes.data(), static_cast<std::size_t>(got)});
  }
  return reply;
}

}  // namespace

control::Started restart_in_background(const RestartOptions& options,
                                       const std::optional<std::filesystem::path>& output,
                                       const OnProgress& on_progress) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) {
    base::throw_system("cannot make a socket pair");
  }
  const base::UniqueFd ours(ends[0]);
  base::UniqueFd theirs(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) base::throw_system("cannot start a process");
  if (pid == 0) {
    ::close(ours.get());
    run_in_background(options, output, std::move(theirs));
  }
  theirs.reset();
  ::waitpid(pid, nullptr, 0);
  FrameReader reader;
  while (true) {
    const control::Reply reply = next_reply(ours.get(), reader);
    if (reply.has_error()) throw to_error(reply.error());
    if (reply.has_started()) return reply.started();
    if (on_progress) on_progress(reply.progress());
  }
}

}  // namespace torpor::supervisor
