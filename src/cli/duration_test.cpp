#include "cli/duration.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace torpor::cli {
namespace {

using namespace std::chrono_literals;

TEST(ParseDuration, UnderstandsUnits) {
  EXPECT_EQ(parse_duration("500ms"), 500ms);
  EXPECT_EQ(parse_duration("30s"), 30s);
  EXPECT_EQ(parse_duration("10m"), 10min);
  EXPECT_EQ(parse_duration("2h"), 2h);
  EXPECT_EQ(parse_duration("1d"), 24h);
  EXPECT_EQ(parse_duration("90"), 90s);
}

TEST(ParseDuration, AddsUp) {
  EXPECT_EQ(parse_duration("1h30m"), 90min);
  EXPECT_EQ(parse_duration("1m30s500ms"), 90'500ms);
}

TEST(ParseDuration, RefusesEverythingElse) {
  for (const char* text : {"", "m", "10x", "-5s", "+5s", "1.5h", "10 m", " 10m", "10m ", "0", "0s",
                           "1h30", "99999999999999999999s", "9999999999d", "3651d", "s10", "1e3"}) {
    EXPECT_THROW(parse_duration(text), base::Error) << text;
  }
}

TEST(ParseDuration, HasALimitThatIsReached) {
  EXPECT_EQ(parse_duration("3650d"), 24h * 3650);
  EXPECT_THROW(parse_duration("3650d1ms"), base::Error);
}

}  // namespace
}  // namespace torpor::cli
