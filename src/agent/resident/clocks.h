// Clocks of the program's own in the resident agent. Freestanding.
#pragma once

#include "agent/resident/clock_wrap.h"
#include "agent/resident/ids.h"

namespace torpor::agent {

inline bool has_clocks() { return has_ids() && is_set(id_table().clocks); }

// clock_filter.cpp: leads calls with absolute times in.
std::int64_t install_clock_filter();

// The program's vdso is at `vdso`. If it has clocks of its own its clock_gettime leads here from
// now on. 0 or -errno.
std::int64_t use_vdso(std::uint64_t vdso);
bool in_vdso(std::uint64_t address);

// A call of the table.
std::int64_t wrap_clock(Trap& trap, const ClockCall& row);
// The same for calls in messages, where they are made as the program would make them; null if it is
// none that gives the kernel a time.
const ClockCall* find_given_time(const IdRequest& request);

// `frame` may be in the middle of asking for the time, on our stack or in our stub: then it is put
// back to the beginning of that, where the program's vdso stands.
void leave_clock(Frame& frame);

#pragma GCC visibility push(hidden)
extern "C" {
extern const char clock_begin[], clock_framed[], clock_return[], clock_done[], clock_by_call[],
    clock_called[], clock_over[];
}
#pragma GCC visibility pop

}  // namespace torpor::agent
