#include "supervisor/checkpoint_job.h"

#include "supervisor/replies.h"

namespace torpor::supervisor {

CheckpointJob::CheckpointJob(asio::io_context& io, checkpoint::Request request,
                             std::function<void(CheckpointJob&)> on_done)
    : io_(io), request_(std::move(request)), on_done_(std::move(on_done)) {
  thread_ = std::jthread([this] { work(); });
}

void CheckpointJob::give_up() {
  cancel();
  if (thread_.joinable()) thread_.join();
}

void CheckpointJob::work() {
  try {
    outcome_ = checkpoint::run(request_, progress_, [this] { resumed_ = true; });
  } catch (const base::Error& error) {
    error_ = error;
  } catch (const std::exception& error) {
    error_ = base::Error(base::ErrorCode::internal, error.what());
  }
  asio::post(io_, [this] { finish(); });
}

void CheckpointJob::finish() {
  thread_.join();
  done_ = true;
  on_done_(*this);
  for (const auto& timer : waiting_) timer->cancel();
  waiting_.clear();
}

asio::awaitable<void> CheckpointJob::wait(std::chrono::milliseconds delay) {
  if (done_) co_return;
  const auto timer = std::make_shared<asio::steady_timer>(io_, delay);
  waiting_.push_back(timer);
  std::error_code ignored;
  co_await timer->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  std::erase(waiting_, timer);
}

control::Progress CheckpointJob::progress() const {
  control::Progress progress;
  progress.set_phase(resumed_ ? control::Progress::WRITING : control::Progress::STOPPING);
  progress.set_bytes_done(progress_.bytes_done);
  progress.set_bytes_total(progress_.bytes_total);
  return progress;
}

control::Reply CheckpointJob::reply() const {
  control::Reply reply;
  if (error_) {
    *reply.mutable_error() = to_message(*error_);
  } else {
    *reply.mutable_checkpoint() = to_message(*outcome_, request_);
  }
  return reply;
}

}  // namespace torpor::supervisor
