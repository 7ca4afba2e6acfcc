// Any number of system calls: as many batches as they need.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "process/agent_client.h"

namespace torpor::process {

class BatchRunner {
 public:
  explicit BatchRunner(AgentClient& agent) : agent_(agent) {}

  // A list that has room for that much; what is in it already may be run first. Data of earlier
  // calls is gone then.
  CallList& room_for(std::size_t calls, std::size_t data_bytes);

  // A call without data.
  void call(std::int64_t number, std::vector<Argument> arguments, std::string what);

  // The next call that is added to the present list must have exactly this result.
  void expect(std::int64_t result);

  // Runs what is waiting. Throws Error as Batch::run does.
  void flush();

 private:
  AgentClient& agent_;
  std::unique_ptr<Batch> batch_;
  std::vector<std::pair<std::size_t, std::int64_t>> expected_;
};

}  // namespace torpor::process
