// System calls that tell or take an absolute time, made for a program whose clocks are ahead of the
// host's, or behind. Everything but how the call itself is made. Freestanding.
#pragma once

#include "agent/resident/clock_calls.h"
#include "agent/resident/clock_offsets.h"
#include "agent/resident/id_wrap.h"

namespace torpor::agent {

class ClockCaller {
 public:
  ClockCaller(const ClockOffsets& offsets, const IdKernel& kernel)
      : offsets_(offsets), kernel_(kernel) {}

  // `row` is what find_clock_call() says of it.
  std::int64_t call(const ClockCall& row, const IdRequest& request);

 private:
  std::int64_t tell(const ClockCall& row, const IdRequest& request);
  std::int64_t wait_until(const ClockCall& row, IdRequest request);
  std::int64_t arm(const ClockCall& row, IdRequest request, std::int32_t clock);
  std::int64_t tell_uptime(const IdRequest& request);
  std::int64_t tell_ticks(const IdRequest& request);
  std::int64_t make(const IdRequest& request) const { return kernel_.make(kernel_.data, request); }

  const ClockOffsets& offsets_;
  IdKernel kernel_;
};

// The clock of a POSIX timer, and of a timerfd, of this process; -1 if nobody tells.
std::int32_t clock_of_timer(std::int32_t timer);
std::int32_t clock_of_timer_fd(std::int32_t descriptor);

}  // namespace torpor::agent
