// Spans of time as people write them.
#pragma once

#include <chrono>
#include <string_view>

namespace torpor::cli {

// "10m", "1h30m", "90", "500ms": numbers with ms, s, m, h or d behind them; without, seconds.
// Throws Error usage unless that is more than nothing and less than ten years.
std::chrono::milliseconds parse_duration(std::string_view text);

}  // namespace torpor::cli
