#include "cli/units.h"

#include <gtest/gtest.h>

#include <limits>

namespace torpor::cli {
namespace {

using namespace std::chrono_literals;

TEST(FormatBytes, ChoosesTheUnit) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes((1u << 20) - 1), "1.0 MiB");
  EXPECT_EQ(format_bytes(1u << 30), "1.0 GiB");
  EXPECT_EQ(format_bytes(std::numeric_limits<std::uint64_t>::max()), "16.0 EiB");
}

TEST(FormatSpan, ChoosesTheUnit) {
  EXPECT_EQ(format_span(0ns), "0 µs");
  EXPECT_EQ(format_span(840us), "840 µs");
  EXPECT_EQ(format_span(3100us), "3.1 ms");
  EXPECT_EQ(format_span(2400ms), "2.4 s");
  EXPECT_EQ(format_span(65s), "1:05 min");
  EXPECT_EQ(format_span(2h + 3min), "2:03 h");
}

TEST(FormatTime, IsDateAndTime) {
  EXPECT_EQ(format_time(0).size(), std::string("1970-01-01 00:00:00").size());
}

}  // namespace
}  // namespace torpor::cli
