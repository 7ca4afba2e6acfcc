#include "process/borrowed_calls.h"

#include <span>

namespace torpor::process {

BorrowedCalls::BorrowedCalls(const HeldProcess& held)
    : pid_(held.memory_pid()),  // a leader that has exited has no memory
      detour_(held.agent->detour()),
      room_(held.agent->message_payload()) {}

std::int64_t BorrowedCalls::call(Tracee& thread, std::int64_t number,
                                 std::initializer_list<std::uint64_t> arguments) const {
  return BorrowedThread(thread, detour_)
      .call(number, std::span(arguments.begin(), arguments.size()));
}

}  // namespace torpor::process
