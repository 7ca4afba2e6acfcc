// The same work on many items, by several threads.
#pragma once

#include <cstddef>
#include <functional>

namespace torpor::image {

// Does the work on one item. Belongs to one thread, and so may own that thread's buffers.
using Worker = std::function<void(std::size_t item)>;

// Calls workers for the items 0 to count - 1, each item once, in about that order. `make_worker` is
// called once for every thread, in that thread. The first exception keeps further items from being
// begun, and is thrown here when all threads have ended. With one item or one worker all happens in
// the calling thread. Signals are blocked in the threads, so that handlers run where they are
// expected.
void parallel_for(std::size_t count, unsigned workers, const std::function<Worker()>& make_worker);

// How many threads keep both the CPUs and a disk busy: two for every CPU, at least 2, at most 8.
unsigned default_workers();

}  // namespace torpor::image
