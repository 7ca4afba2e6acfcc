// System calls that only a thread itself can make about itself, made by stopped threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "base/remote_ptr.h"
#include "process/detour.h"
#include "process/held_process.h"
#include "process/remote_memory.h"

namespace torpor::process {

// The room for results is in the agent's message area: valid while the agent is in the process and
// no batch is under way.
class BorrowedCalls {
 public:
  static constexpr std::size_t kRoom = 256;

  explicit BorrowedCalls(const HeldProcess& held);

  // The raw result, negative errno included.
  [[nodiscard]] std::int64_t call(Tracee& thread, std::int64_t number,
                                  std::initializer_list<std::uint64_t> arguments) const;

  // kRoom bytes that a call can write to.
  [[nodiscard]] std::uint64_t room() const { return room_.address(); }
  template <typename T>
  [[nodiscard]] T result() const {
    static_assert(sizeof(T) <= kRoom);
    return read_value<T>(pid_, room_);
  }

 private:
  pid_t pid_;
  Detour detour_;
  base::RemotePtr room_;
};

}  // namespace torpor::process
