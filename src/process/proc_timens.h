// The clock offsets of a time namespace: /proc/PID/timens_offsets (time_namespaces(7), since 5.6).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>

namespace torpor::process {

// To be added to the host's clock. Nanoseconds are never negative: -0.5 s is -1 s + 500000000 ns.
struct TimeOffsets {
  int64_t mono_sec = 0;
  int64_t mono_nsec = 0;
  int64_t boot_sec = 0;
  int64_t boot_nsec = 0;
};

// The offsets of the namespace in which *children* of the process are born; that is its own, too,
// unless it has called unshare(CLONE_NEWTIME) and not yet exec(). All zero on a kernel without time
// namespaces.
TimeOffsets read_time_offsets(pid_t pid);

// Parses the text of a timens_offsets file. `file` is for the message of an error.
TimeOffsets parse_time_offsets(std::string_view text, std::string_view file = "timens_offsets");

}  // namespace torpor::process
