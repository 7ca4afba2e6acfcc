// Stands by a running program: takes its checkpoints, answers on its control socket, hands signals
// and terminal through, and ends with it. One per computation and host; all of it is one loop in
// one thread, and one more thread while a checkpoint is being taken.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "proto/control.pb.h"
#include "resource/interrupted_calls.h"
#include "restart/restart.h"
#include "supervisor/asio.h"
#include "supervisor/checkpoint_job.h"
#include "supervisor/control_server.h"
#include "supervisor/runtime_dir.h"
#include "supervisor/signals.h"
#include "supervisor/strangers.h"
#include "supervisor/terminal_relay.h"
#include "supervisor/watch.h"

namespace torpor::supervisor {

// How checkpoints are taken that nobody describes more closely.
struct CheckpointPolicy {
  std::filesystem::path directory;        // of the image store, absolute
  unsigned keep = 3;                      // generations
  std::chrono::milliseconds interval{0};  // between periodic ones; 0: none
};

using OutsideStreams = std::vector<checkpoint::Request::OutsideStream>;

class Supervisor {
 public:
  // Listens from here on, under the claimed name. `status` has origin and command.
  Supervisor(Signals& signals, NameClaim name, CheckpointPolicy policy, control::Status status);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // The user's terminal and the pair whose slave the program has. Before run().
  void relay_terminal(std::unique_ptr<UserTerminal> user, Pty pty);

  // Ways to say whom to stand by; one of them, before run().
  // `others`: children of ours that are not of the program.
  void supervise_child(pid_t root, OutsideStreams outside, std::span<const pid_t> others);
  void supervise_restored(restart::Restarted restarted, OutsideStreams outside);
  void supervise_stranger(pid_t root, OutsideStreams outside);

  // Its processes have resident agents.
  void set_wrapped(std::optional<wrapped::Computation> computation,
                   std::shared_ptr<wrapped::IdTableFile> ids = nullptr) {
    wrapped_ = computation;
    ids_ = std::move(ids);
  }

  // Until the root of the program has ended and whoever still waits for a checkpoint has his
  // answer. Returns the root's exit status (128+n for a signal). For a stranger also until we are
  // told to end, and 0.
  int run();

  // What a signal to us does. Also for one that was taken from Signals before run().
  void on_signal(const signalfd_siginfo& info);

 private:
  void take_over(pid_t root, pid_t reaper, OutsideStreams outside);
  checkpoint::Request request_for(const control::CheckpointRequest& wish);
  std::shared_ptr<CheckpointJob> start_checkpoint(const control::CheckpointRequest& wish);
  void checkpoint_done(const CheckpointJob& job);
  asio::awaitable<void> take_periodic_checkpoints();

  asio::awaitable<void> take_signals();
  void pass_on(const signalfd_siginfo& info);
  void suspend();
  void stop_everything();
  void stop_with_group(pid_t group);
  void resume_terminal();

  void on_status(int wait_status);
  void end_when_nothing_is_left();
  void say(const std::string& text);
  [[nodiscard]] bool has_ended() const { return exit_status_.has_value(); }
  [[nodiscard]] bool job_runs() const { return job_ && !job_->done(); }

  // These two first: they outlive whatever still waits in the loop, or works for it.
  std::mutex wait_lock_;
  asio::io_context io_;
  Signals& signals_;
  asio::posix::stream_descriptor signal_fd_;
  NameClaim name_;
  CheckpointPolicy policy_;
  control::Status status_;
  ControlServer server_;
  std::unique_ptr<UserTerminal> terminal_;
  std::unique_ptr<TerminalRelay> relay_;
  std::unique_ptr<Watch> watch_;
  base::UniqueFd root_;  // pidfd
  pid_t reaper_ = 0;
  OutsideStreams outside_;
  Strangers strangers_;
  std::optional<wrapped::Computation> wrapped_;
  std::shared_ptr<wrapped::IdTableFile> ids_;  // must be there as long as the program
  resource::WaitLog waits_;
  wrapped::CallLog calls_;
  asio::steady_timer last_words_;
  std::optional<int> exit_status_;
  std::shared_ptr<CheckpointJob> job_;
};

}  // namespace torpor::supervisor
