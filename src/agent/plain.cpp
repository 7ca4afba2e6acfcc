// An agent whose program has the ids that the kernel knows.
#include "agent/agent.h"

namespace torpor::agent {

std::int64_t system_call(std::int64_t number, const std::uint64_t (&args)[6]) {
  return raw_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

void choose_id(clone_args& args, const std::int32_t* id) {
  if (*id == 0) return;
  args.set_tid = address_of(id);
  args.set_tid_size = 1;
}

void take_id(std::int32_t /*id*/) {}

void await_registers(ThreadRecord* /*record*/) {
  const std::uint32_t never = 0;
  for (;;) futex_wait(&never, 0, -1);
}

}  // namespace torpor::agent
