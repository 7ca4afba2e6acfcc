#include "cli/progress_bar.h"

#include <gtest/gtest.h>

namespace torpor::cli {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t MiB = 1u << 20;

TEST(RenderProgress, SaysHowMuchHowFastAndHowLong) {
  EXPECT_EQ(render_progress("writing", 100 * MiB, 400 * MiB, 2s, 120),
            "writing   25%  100.0 MiB of 400.0 MiB  50.0 MiB/s  6.0 s left  "
            "[#######.......................]");
}

TEST(RenderProgress, WithoutTotalThereIsNoEnd) {
  EXPECT_EQ(render_progress("writing", 100 * MiB, 0, 2s, 120), "writing  100.0 MiB  50.0 MiB/s");
}

TEST(RenderProgress, AtTheBeginningThereIsNoRate) {
  EXPECT_EQ(render_progress("reading", 0, 10 * MiB, 1s, 120),
            "reading    0%  0 B of 10.0 MiB  [..............................]");
  EXPECT_EQ(render_progress("reading", 0, 0, 0s, 120), "reading  0 B");
}

TEST(RenderProgress, MoreThanTheTotalIsNotMoreThanAll) {
  EXPECT_EQ(render_progress("writing", 20 * MiB, 10 * MiB, 1s, 120),
            "writing  100%  20.0 MiB of 20.0 MiB  20.0 MiB/s  [##############################]");
}

TEST(RenderProgress, LeavesOutWhatHasNoRoom) {
  for (std::size_t width = 1; width < 120; ++width) {
    const std::string line = render_progress("writing", 100 * MiB, 400 * MiB, 2s, width);
    EXPECT_LE(line.size(), width);
  }
  EXPECT_EQ(render_progress("writing", 100 * MiB, 400 * MiB, 2s, 20), "writing   25%");
  EXPECT_EQ(render_progress("writing", 1, 2, 1s, 4), "writ");
}

}  // namespace
}  // namespace torpor::cli
