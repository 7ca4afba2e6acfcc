// Seccomp filters of the program's own. They would hold for the agent, too: a sandbox that knows
// nothing of it would kill the program at its first checkpoint. So each is installed with a few
// instructions in front that let the agent's own calls pass, and written down here: nobody but root
// could read it again for an image.
//
// A call that the agent makes in the program's place passes them as well. Therefore the agent asks
// them first, as the kernel would have. Freestanding; the supervisor and the unit tests use it,
// too.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstddef>
#include <cstdint>

#include "agent/resident/resident_abi.h"

namespace torpor::agent {

// What one filter says of a call: a SECCOMP_RET_* with its data. The kernel has accepted the filter
// (seccomp(2)), so it ends and stays within its bounds.
std::uint32_t run_filter(const sock_filter* code, std::uint32_t length, const seccomp_data& call);

// What all say together: the most restrictive, of equal ones the youngest filter's.
std::uint32_t run_filters(const OwnFilters& filters, const seccomp_data& call);

}  // namespace torpor::agent
