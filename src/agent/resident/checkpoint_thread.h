// The checkpoint thread: there only from the order to stop until the program runs again.
#pragma once

#include "agent/resident/resident.h"

namespace torpor::agent {

inline constexpr int kWithoutDescriptors = -1;
inline constexpr std::uint64_t kInfoBytes = 128;  // siginfo_t

// Takes queued signals of the set, this thread's own first, into a buffer of so many; how many
// there were.
std::int64_t take_signals(std::uint64_t set, std::uint64_t buffer, std::uint64_t capacity);

// Starts it, with a table of descriptors of its own: empty but for its socket, or
// (`with_descriptors`) with a copy of the program's. It connects to the supervisor and serves it.
// `on_lost` is called when it loses the supervisor. Its tid, or -errno.
std::int64_t start_checkpoint_thread(bool with_descriptors,
                                     void (*on_lost)(Context*) = abandon_stop);

}  // namespace torpor::agent
