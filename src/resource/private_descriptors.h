// Work in a descriptor table of one's own.
#pragma once

#include <functional>

namespace torpor::resource {

enum class PrivateBy {
  automatic,
  thread,   // unshare(2), which containers often refuse altogether
  process,  // one that shares our memory, while the calling thread waits
};

// Runs `work` where the descriptor table is a copy of ours, and waits for it: it can put any
// description at any number, and all that it opens is closed afterwards. The soft limit of numbers
// is raised to the hard one meanwhile. Errors are passed on.
void with_private_descriptors(const std::function<void()>& work,
                              PrivateBy way = PrivateBy::automatic);

}  // namespace torpor::resource
