// Numbers for people.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace torpor::cli {

std::string format_bytes(std::uint64_t bytes);           // "512 B", "1.5 GiB"
std::string format_span(std::chrono::nanoseconds span);  // "840 µs", "3.1 ms", "2.4 s", "1:05 min"
std::string format_time(std::int64_t realtime_ns);       // local: "2024-05-01 13:05:59"

}  // namespace torpor::cli
