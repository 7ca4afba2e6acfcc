// Points at which a test build can be made to fail, to show that the program is unharmed then. The
// names are those of the numbered steps in docs/checkpoint-sequence.md and
// docs/restart-sequence.md.
#pragma once

#include <string_view>

namespace torpor::base {

// In builds with TORPOR_FAULT_POINTS: if $TORPOR_FAULT is "<name>:kill", kills this process with
// SIGKILL; "<name>:fail" throws Error internal; "<name>:full" throws Error io (no space left);
// "<name>:pause" sleeps 200 ms, "<name>:halt" stops the process (SIGSTOP). In all other builds it
// does nothing and costs nothing.
#ifdef TORPOR_FAULT_POINTS
void fault_point(std::string_view name);
#else
inline void fault_point(std::string_view) {}
#endif

}  // namespace torpor::base
