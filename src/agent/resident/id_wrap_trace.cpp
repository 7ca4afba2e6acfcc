// The requests of ptrace(2) that give ids otherwise than as a result.
#include <asm/unistd.h>

#include "agent/resident/id_wrap.h"

namespace torpor::agent {

// The message is an id after the events that tell of a child or an exec; its event is in the
// signal's code.
std::int64_t IdCaller::event_message(const IdRequest& request) {
  constexpr std::uint64_t kGetInfo = 0x4202;  // PTRACE_GETSIGINFO
  constexpr std::int32_t kFirst = 1;          // PTRACE_EVENT_FORK, VFORK, CLONE, EXEC, VFORK_DONE
  constexpr std::int32_t kLast = 5;
  IdRequest exact = request;
  exact.args[1] = static_cast<std::uint64_t>(std::int64_t{to_kernel(Id::kThread, request.args[1])});
  const std::int64_t result = make(exact);
  std::int32_t info[32]{};
  if (result < 0 || make(__NR_ptrace, kGetInfo, exact.args[1], 0, address_of_id(&info[0])) < 0) {
    return result;
  }
  const std::int32_t event = info[2] >> 8;
  auto& message = *reinterpret_cast<std::uint64_t*>(request.args[3]);
  if (event >= kFirst && event <= kLast) {
    message = static_cast<std::uint64_t>(seen(Id::kThread, static_cast<std::int64_t>(message)));
  }
  return result;
}

std::int64_t IdCaller::peek(const IdRequest& request) {
  constexpr std::int64_t kInfoBytes = 128;
  IdRequest exact = request;
  exact.args[1] = static_cast<std::uint64_t>(std::int64_t{to_kernel(Id::kThread, request.args[1])});
  const std::int64_t count = make(exact);
  for (std::int64_t i = 0; i < count; ++i) {
    translate_info(table_, Way::kToProgram,
                   reinterpret_cast<char*>(request.args[3]) + i * kInfoBytes);
  }
  return count;
}

}  // namespace torpor::agent
