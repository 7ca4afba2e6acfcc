// One checkpoint at a time, in a thread of its own, while the supervisor goes on with its work.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "checkpoint/checkpoint.h"
#include "proto/control.pb.h"
#include "supervisor/asio.h"

namespace torpor::supervisor {

// A checkpoint that runs or has run. Everything but the work itself happens in the loop's thread.
class CheckpointJob {
 public:
  // Begins at once. `on_done` is called in the loop, before those who wait are woken.
  CheckpointJob(asio::io_context& io, checkpoint::Request request,
                std::function<void(CheckpointJob&)> on_done);
  ~CheckpointJob() { give_up(); }
  CheckpointJob(const CheckpointJob&) = delete;
  CheckpointJob& operator=(const CheckpointJob&) = delete;

  [[nodiscard]] bool done() const { return done_; }
  void cancel() { progress_.cancelled = true; }
  // Cancels, and waits until nothing of the work goes on; `on_done` is not called any more.
  void give_up();
  [[nodiscard]] control::Progress progress() const;
  [[nodiscard]] const checkpoint::Request& request() const { return request_; }

  // Of a job that is done.
  [[nodiscard]] const std::optional<checkpoint::Outcome>& outcome() const { return outcome_; }
  [[nodiscard]] const std::optional<base::Error>& error() const { return error_; }
  // Either of the two, as it is said to a client.
  [[nodiscard]] control::Reply reply() const;

  // Returns after `delay`, or as soon as the job is done.
  asio::awaitable<void> wait(std::chrono::milliseconds delay);

 private:
  void work();
  void finish();

  asio::io_context& io_;
  checkpoint::Request request_;
  std::function<void(CheckpointJob&)> on_done_;
  base::Progress progress_;
  std::atomic<bool> resumed_{false};
  std::optional<checkpoint::Outcome> outcome_;
  std::optional<base::Error> error_;
  bool done_ = false;
  std::vector<std::shared_ptr<asio::steady_timer>> waiting_;
  std::jthread thread_;
};

}  // namespace torpor::supervisor
