#include "process/batch_runner.h"

namespace torpor::process {

CallList& BatchRunner::room_for(std::size_t calls, std::size_t data_bytes) {
  if (batch_ && !batch_->fits(calls, data_bytes)) flush();
  if (!batch_) batch_ = std::make_unique<Batch>(agent_);
  return *batch_;
}

void BatchRunner::call(std::int64_t number, std::vector<Argument> arguments, std::string what) {
  room_for(1, 0).call(number, std::move(arguments), std::move(what));
}

void BatchRunner::expect(std::int64_t result) {
  room_for(1, 0);
  expected_.emplace_back(batch_->size(), result);
}

void BatchRunner::flush() {
  if (!batch_) return;
  const auto batch = std::move(batch_);
  const auto expected = std::move(expected_);
  expected_.clear();
  if (batch->empty()) return;
  batch->run();
  for (const auto& [call, result] : expected) {
    if (batch->result(call) == result) continue;
    throw base::Error(base::ErrorCode::io,
                      fmt::format("process {}: call {} returned {} instead of {}", agent_.pid(),
                                  call, batch->result(call), result));
  }
}

}  // namespace torpor::process
