#include "supervisor/supervisor.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "supervisor/exit_status.h"
#include "supervisor/pidfd.h"
#include "supervisor/replies.h"

namespace torpor::supervisor {
namespace {

// How long clients may take to fetch their answers when everything else is over.
constexpr std::chrono::seconds last_words_patience{2};
constexpr std::chrono::milliseconds nap_while_checkpointing{3};
// More than a pseudo terminal can hold; others who still write do not keep us for ever.
constexpr std::size_t flush_limit = 1u << 20;

std::int64_t now_ns() {
  return std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
}

int duplicate(int fd) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) base::throw_system("cannot duplicate fd {}", fd);
  return copy;
}

}  // namespace

Supervisor::Supervisor(Signals& signals, NameClaim name, CheckpointPolicy policy,
                       control::Status status)
    : signals_(signals),
      signal_fd_(io_, duplicate(signals.fd())),
      name_(std::move(name)),
      policy_(std::move(policy)),
      status_(std::move(status)),
      server_(io_, name_.socket_address(),
              {.check = [this] { return to_message(checkpoint::check(request_for({}))); },
               .status =
                   [this] {
                     status_.set_checkpoint_running(job_runs());
                     return status_;
                   },
               .checkpoint = [this](const auto& wish) { return start_checkpoint(wish); }}),
      last_words_(io_) {
  status_.set_name(name_.name());
  status_.set_supervisor_pid(::getpid());
  status_.set_started_ns(now_ns());
  status_.set_directory(policy_.directory.string());
  status_.set_interval_ms(policy_.interval.count());
  server_.set_on_idle([this] {
    if (has_ended()) end_when_nothing_is_left();
  });
}

Supervisor::~Supervisor() {
  if (job_runs()) job_->give_up();  // only when we are leaving by an exception
}

void Supervisor::relay_terminal(std::unique_ptr<UserTerminal> user, Pty pty) {
  terminal_ = std::move(user);
  relay_ = std::make_unique<TerminalRelay>(io_, *terminal_, std::move(pty), [this] { suspend(); });
}

void Supervisor::take_over(pid_t root, pid_t reaper, OutsideStreams outside) {
  status_.set_root_pid(root);
  reaper_ = reaper;
  outside_ = std::move(outside);
  // If it has ended already, the watch will tell.
  root_.reset(::pidfd_open(root, 0));
}

void Supervisor::supervise_child(pid_t root, OutsideStreams outside,
                                 std::span<const pid_t> others) {
  strangers_.add(others);
  take_over(root, ::getpid(), std::move(outside));
  watch_ = watch_child(io_, root, wait_lock_, [this](int status) { on_status(status); });
}

void Supervisor::supervise_restored(restart::Restarted restarted, OutsideStreams outside) {
  take_over(restarted.root, restarted.reaper, std::move(outside));
  strangers_.add(restarted.not_ours);
  waits_ = std::move(restarted.waits);
  wrapped_ = restarted.wrapped;
  ids_ = std::move(restarted.ids);
  watch_ = watch_reports(io_, restarted.child, std::move(restarted.reports), restarted.root_seen,
                         wait_lock_, [this](int status) { on_status(status); });
}

void Supervisor::supervise_stranger(pid_t root, OutsideStreams outside) {
  take_over(root, 0, std::move(outside));
  watch_ = watch_stranger(io_, root, [this](int status) { on_status(status); });
}

int Supervisor::run() {
  server_.start();
  asio::co_spawn(io_, take_signals(), asio::detached);
  if (policy_.interval.count() > 0) {
    asio::co_spawn(io_, take_periodic_checkpoints(), asio::detached);
  }
  if (relay_) {
    terminal_->enter_raw();
    relay_->copy_window_size();
    relay_->start();
  }
  watch_->look();  // its SIGCHLD may have been taken before we were here
  io_.run();
  if (relay_) relay_->flush(flush_limit);
  return exit_status_.value_or(0);
}

// ------------------------------------------------------------------------------- checkpoints

checkpoint::Request Supervisor::request_for(const control::CheckpointRequest& wish) {
  checkpoint::Request request;
  request.root = status_.root_pid();
  request.reaper = reaper_;
  request.name = status_.name();
  request.directory = policy_.directory;
  if (!wish.directory().empty()) request.directory = wish.directory();
  request.kill = wish.kill();
  request.keep = policy_.keep;
  request.outside = outside_;
  request.wait_lock = &wait_lock_;
  request.not_ours = strangers_.present();
  request.waits = &waits_;
  request.calls = &calls_;
  request.wrapped = wrapped_;
  return request;
}

std::shared_ptr<CheckpointJob> Supervisor::start_checkpoint(
    const control::CheckpointRequest& wish) {
  if (has_ended() || status_.root_pid() == 0) {
    throw base::Error(base::ErrorCode::program_gone,
                      fmt::format("the program of '{}' has ended", status_.name()));
  }
  if (job_runs()) {
    throw base::Error(base::ErrorCode::conflict,
                      fmt::format("a checkpoint of '{}' is being taken already", status_.name()),
                      "wait until it is done");
  }
  watch_->checkpoint_runs(true);
  job_ = std::make_shared<CheckpointJob>(io_, request_for(wish),
                                         [this](CheckpointJob& job) { checkpoint_done(job); });
  return job_;
}

void Supervisor::checkpoint_done(const CheckpointJob& job) {
  if (job.error()) {
    status_.set_last_failure(job.error()->what());
  } else {
    status_.clear_last_failure();
    status_.set_generation(job.outcome()->generation);
    status_.set_image(job.outcome()->image.string());
    status_.set_checkpoint_ns(now_ns());
  }
  watch_->checkpoint_runs(false);
  watch_->look();
  if (has_ended()) end_when_nothing_is_left();
}

asio::awaitable<void> Supervisor::take_periodic_checkpoints() {
  asio::steady_timer timer(io_);
  while (true) {
    timer.expires_after(policy_.interval);
    co_await timer.async_wait(asio::use_awaitable);
    if (has_ended()) co_return;
    if (job_runs()) continue;
    const std::shared_ptr<CheckpointJob> job = start_checkpoint({});
    while (!job->done()) co_await job->wait(policy_.interval);
    if (!job->error() || has_ended()) continue;
    const std::string& remedy = job->error()->remedy();
    say(fmt::format("a periodic checkpoint of '{}' failed: {}{}{}", status_.name(),
                    job->error()->what(), remedy.empty() ? "" : "; try: ", remedy));
  }
}

// ------------------------------------------------------------------------------- signals

// Every stop of every thread during a checkpoint is a SIGCHLD to us. They are taken together, or
// this thread would be busy with them while the program waits for the other one.
asio::awaitable<void> Supervisor::take_signals() {
  asio::steady_timer nap(io_);
  while (true) {
    std::error_code error;
    if (job_runs()) {
      nap.expires_after(nap_while_checkpointing);
      co_await nap.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
    co_await signal_fd_.async_wait(asio::posix::stream_descriptor::wait_read,
                                   asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    while (const std::optional<signalfd_siginfo> info = signals_.next()) on_signal(*info);
  }
}

void Supervisor::on_signal(const signalfd_siginfo& info) {
  switch (info.ssi_signo) {
    case SIGCHLD: watch_->look(); break;
    case SIGWINCH:
      if (relay_) relay_->copy_window_size();
      break;
    case SIGCONT: resume_terminal(); break;
    case SIGTSTP: stop_everything(); break;
    case SIGTTIN:
    case SIGTTOU: break;
    default: pass_on(info);
  }
}

void Supervisor::pass_on(const signalfd_siginfo& info) {
  const int signal = static_cast<int>(info.ssi_signo);
  if (status_.origin() == control::Status::ATTACHED) {  // it is not ours to end
    exit_status_ = exit_status_.value_or(0);
    if (job_runs()) job_->cancel();
    end_when_nothing_is_left();
    return;
  }
  if (has_ended()) return;
  if (signal == SIGHUP && relay_ && terminal_->is_hung_up()) {
    relay_->hang_up();
    return;
  }
  // A key or a hang-up is meant for the whole foreground group, which we are and they are not.
  const pid_t group = info.ssi_code == SI_KERNEL ? ::getpgid(status_.root_pid()) : -1;
  if (group > 0) {
    ::kill(-group, signal);
  } else if (root_) {
    ::pidfd_send_signal(root_.get(), signal, nullptr, 0);
  }
}

// The suspend key was typed at the program's terminal.
void Supervisor::suspend() {
  if (has_ended()) return;
  const pid_t root = status_.root_pid();
  const pid_t group = relay_->foreground_group();
  if (group > 0 && stop_orphaned_group(group, root)) stop_with_group(group);
}

// It is us who are to stop: with all of the program, whatever it would do about a key.
void Supervisor::stop_everything() {
  if (has_ended() || status_.origin() == control::Status::ATTACHED) {
    signals_.stop_job();
    return;
  }
  const pid_t group = ::getpgid(status_.root_pid());
  if (group > 0 && ::kill(-group, SIGSTOP) == 0) stop_with_group(group);
}

void Supervisor::stop_with_group(pid_t group) {
  if (relay_) {
    relay_->flush(flush_limit);
    terminal_->leave_raw();
  }
  signals_.stop_job();
  resume_terminal();
  ::kill(-group, SIGCONT);
}

void Supervisor::resume_terminal() {
  if (!relay_ || terminal_->is_hung_up()) return;
  terminal_->enter_raw();
  relay_->copy_window_size();
}

// ------------------------------------------------------------------------------- the end

void Supervisor::on_status(int wait_status) {
  if (WIFSTOPPED(wait_status)) {
    // By the suspend key of its own accord, inside of a group that the kernel lets be stopped.
    const pid_t group = ::getpgid(status_.root_pid());
    if (relay_ && WSTOPSIG(wait_status) == SIGTSTP && group > 0) stop_with_group(group);
    return;
  }
  if (has_ended() || (!WIFEXITED(wait_status) && !WIFSIGNALED(wait_status))) return;
  exit_status_ = exit_status(wait_status);
  root_.reset();
  end_when_nothing_is_left();
}

void Supervisor::end_when_nothing_is_left() {
  if (job_runs()) return;  // an image that was asked for is still being written
  if (server_.serving() == 0) {
    io_.stop();
    return;
  }
  last_words_.expires_after(last_words_patience);
  last_words_.async_wait([this](const std::error_code& error) {
    if (!error) io_.stop();
  });
}

void Supervisor::say(const std::string& text) {
  const bool raw = terminal_ && terminal_->is_raw();
  const std::string line = fmt::format("torpor: {}{}", text, raw ? "\r\n" : "\n");
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace torpor::supervisor
