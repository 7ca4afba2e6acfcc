#include "process/borrowed_calls.h"

#include <span>

#include "agent/blob.h"
#include "base/error.h"

namespace torpor::process {
namespace {

std::uint64_t instruction_in_agent() {
  const auto at = syscall_in(agent::agent_blob());
  if (!at) throw base::Error(base::ErrorCode::internal, "the agent makes no system call");
  return *at;
}

// A husk has no detour: what is lost with us is to end anyway.
Detour detour_of(const AgentClient& agent) {
  if (agent.detour() != nullptr) return *agent.detour();
  return Detour::bare(agent.code() + instruction_in_agent());
}

}  // namespace

BorrowedCalls::BorrowedCalls(const HeldProcess& held)
    : pid_(held.memory_pid()),  // a leader that has exited has no memory
      detour_(detour_of(*held.agent)),
      room_(held.agent->message_payload()) {}

std::int64_t BorrowedCalls::call(Tracee& thread, std::int64_t number,
                                 std::initializer_list<std::uint64_t> arguments) const {
  return BorrowedThread(thread, detour_)
      .call(number, std::span(arguments.begin(), arguments.size()));
}

}  // namespace torpor::process
