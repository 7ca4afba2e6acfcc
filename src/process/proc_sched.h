// When a thread ran last: /proc/PID/task/TID/sched.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace torpor::process {

// `se.exec_start` in nanoseconds: for a thread that sleeps, the moment at which it fell asleep, in
// the scheduler's clock of the CPU where it ran last. These clocks differ by CPU: they leave out
// the time that the hypervisor took from each, and may lie seconds apart. SchedClocks compares
// them. nullopt when the kernel does not provide it (CONFIG_SCHED_DEBUG before 6.15).
std::optional<uint64_t> exec_start_ns(pid_t pid, pid_t tid);

// Parses the text of a sched file; nullopt if the value is not there.
std::optional<uint64_t> parse_exec_start(std::string_view text, std::string_view file = "sched");

}  // namespace torpor::process
