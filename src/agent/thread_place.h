// Where the thread that brought the agent in is: Context::thread_is_back.
#pragma once

#include <cstdint>

namespace torpor::agent {

enum ThreadPlace : std::uint32_t {
  kIsInside = 0,
  kIsBack = 1,
  kIsBeingPutBack = 2,  // for the moment in which the supervisor does it
};

}  // namespace torpor::agent
