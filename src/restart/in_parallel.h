// The same work in several processes at a time: they do not know of each other.
#pragma once

#include <functional>
#include <span>

#include "restart/husk_tree.h"

namespace torpor::restart {

// Calls `work` once for each, from as many threads as there are processors. Returns when all calls
// have ended; after the first that throws no other begins, and its exception is thrown.
void in_parallel(std::span<Husk* const> husks, const std::function<void(Husk&)>& work);

}  // namespace torpor::restart
