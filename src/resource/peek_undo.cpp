#include "resource/peek_undo.h"

#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>
#include <cstddef>

#include "base/error.h"

namespace torpor::resource {
namespace {

constexpr std::size_t kSpare = 5;  // an argument that setsockopt(2) does not have: room for a value

// The value must lie where it still is when the message that brought it is long overwritten: in the
// call itself.
agent::Call switch_off(const process::AgentClient& agent, int fd) {
  const base::RemotePtr value = agent.context() + offsetof(agent::Context, undo) +
                                offsetof(agent::Call, args) + kSpare * sizeof(std::uint64_t);
  agent::Call call{};
  call.number = SYS_setsockopt;
  const std::array<std::uint64_t, 6> arguments{
      static_cast<std::uint64_t>(fd), SOL_SOCKET, SO_PEEK_OFF, value.address(), sizeof(int),
      static_cast<std::uint64_t>(-1)};
  std::copy(arguments.begin(), arguments.end(), call.args);
  call.may_fail = 1;
  return call;
}

}  // namespace

PeekUndo::PeekUndo(process::AgentClient* agent, int fd) : agent_(agent) {
  if (agent_ == nullptr) return;
  process::Batch batch(*agent_);
  const base::RemotePtr call = batch.value(switch_off(*agent_, fd));
  batch.call(agent::kSetUndo, {call, 1}, "prepare for being killed");
  batch.run();
}

PeekUndo::~PeekUndo() {
  if (agent_ == nullptr) return;
  try {
    agent_->call(agent::kSetUndo, {0, 0}, "forget what was prepared");
  } catch (const base::Error&) {
    // It is gone, and has done it.
  }
}

}  // namespace torpor::resource
