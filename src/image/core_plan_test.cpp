#include "image/core_plan.h"

#include <gtest/gtest.h>

#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::page_size;
using base::PageRun;
using snapshot::Area;
using testing::FakePages;

CorePlan plan_of(const snapshot::Process& process, base::PageSource& source) {
  return plan_core(process, [&](const Area&) -> base::PageSource& { return source; });
}

TEST(Without, CutsHolesOut) {
  using Runs = std::vector<PageRun>;
  const auto cut = [](const Runs& runs, const Runs& holes) { return without(runs, holes); };
  EXPECT_EQ(cut({{0, 10}}, {}), (Runs{{0, 10}}));
  EXPECT_EQ(cut({{0, 10}}, {{0, 10}}), Runs{});
  EXPECT_EQ(cut({{2, 10}}, {{0, 3}}), (Runs{{3, 10}}));
  EXPECT_EQ(cut({{0, 10}}, {{4, 6}}), (Runs{{0, 4}, {6, 10}}));
  EXPECT_EQ(cut({{0, 10}}, {{1, 2}, {3, 4}, {9, 12}}), (Runs{{0, 1}, {2, 3}, {4, 9}}));
  EXPECT_EQ(cut({{0, 4}, {6, 10}}, {{3, 7}}), (Runs{{0, 3}, {7, 10}}));
  EXPECT_EQ(cut({{0, 2}, {4, 6}}, {{2, 4}, {6, 9}}), (Runs{{0, 2}, {4, 6}}));
}

TEST(CorePlan, TakesPrivateAreasAndAsksForWhatTheyAre) {
  snapshot::Process process = testing::example_process();
  FakePages pages;
  const std::vector<Area::Kind> kinds = {Area::ANONYMOUS,   Area::FILE,  Area::SHARED_MEMORY,
                                         Area::SAVED_FILE,  Area::VDSO,  Area::VVAR,
                                         Area::VVAR_VCLOCK, Area::DEVICE};
  std::uint64_t at = 0x10000;
  for (const Area::Kind kind : kinds) {
    testing::add_area(process, at, at + page_size, kind);
    pages.put_patterns(at, 1);
    at += page_size;
    testing::add_area(process, at, at + page_size, kind)->set_shared(true);
    pages.put_patterns(at, 1);
    at += page_size;
  }
  const CorePlan plan = plan_of(process, pages);
  ASSERT_EQ(plan.runs.size(), 5U);  // one for each private area that is not the kernel's
  ASSERT_EQ(plan.chunks.size(), 1U);
  EXPECT_EQ(plan.bytes, 5 * page_size);
  const std::vector<std::uint64_t> taken = {0x10000, 0x12000, 0x14000, 0x16000, 0x1e000};
  const std::vector<bool> file_backed = {false, true, true, true, false};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(plan.runs[i].start, taken[i]);
    EXPECT_EQ(plan.keep_zeros[i], file_backed[i]);
    EXPECT_EQ(pages.asked_file_backed(taken[i]), file_backed[i]);
  }
}

TEST(CorePlan, ChunksAreFullAndRunsEndWithTheirArea) {
  snapshot::Process process = testing::example_process();
  FakePages pages;
  testing::add_area(process, 0x100000, 0x100000 + 1000 * page_size);
  testing::add_area(process, 0x100000 + 1000 * page_size, 0x100000 + 1010 * page_size);
  for (std::uint64_t i = 0; i < 300; ++i) pages.put_patterns(0x100000 + 3 * i * page_size, 2);
  pages.put_patterns(0x100000 + 999 * page_size, 11);  // over the border
  const CorePlan plan = plan_of(process, pages);

  std::vector<std::uint64_t> sizes;
  for (const Chunk& chunk : plan.chunks) {
    sizes.push_back(chunk.bytes / page_size);
    std::uint64_t bytes = 0;
    for (const PageRun& run : plan.runs_of(chunk)) bytes += run.size();
    EXPECT_EQ(bytes, chunk.bytes);
  }
  EXPECT_EQ(sizes, (std::vector<std::uint64_t>{256, 256, 99}));
  const PageRun last_of_first_area = plan.runs[plan.runs.size() - 2];
  EXPECT_EQ(last_of_first_area.end, 0x100000 + 1000 * page_size);
  EXPECT_EQ(plan.bytes, 611 * page_size);
}

TEST(CorePlan, AChunkHasOneSource) {
  snapshot::Process process = testing::example_process();
  FakePages one;
  FakePages two;
  for (std::uint64_t i = 0; i < 3; ++i) {
    testing::add_area(process, 0x10000 + i * page_size, 0x11000 + i * page_size);
    (i == 1 ? two : one).put_patterns(0x10000 + i * page_size, 1);
  }
  const CorePlan plan = plan_core(process, [&](const Area& area) -> base::PageSource& {
    return area.start() == 0x11000 ? two : one;
  });
  ASSERT_EQ(plan.chunks.size(), 3U);
  EXPECT_EQ(plan.chunks[1].source, &two);
}

TEST(CorePlan, GuardsAreLeftOut) {
  snapshot::Process process = testing::example_process();
  FakePages pages;
  Area* area = testing::add_area(process, 0x10000, 0x20000);
  pages.put_patterns(0x10000, 16);
  for (const std::uint64_t start : {0x18000, 0x10000}) {  // in any order
    area->add_guards()->set_start(start);
    area->mutable_guards()->rbegin()->set_end(start + page_size);
  }
  const CorePlan plan = plan_of(process, pages);
  EXPECT_EQ(plan.runs, (std::vector<PageRun>{{0x11000, 0x18000}, {0x19000, 0x20000}}));
}

TEST(CorePlan, AreasOutOfOrderAndForeignPagesAreBugs) {
  FakePages pages;
  snapshot::Process unordered = testing::example_process();
  testing::add_area(unordered, 0x20000, 0x30000);
  testing::add_area(unordered, 0x10000, 0x20000);
  EXPECT_EQ(testing::error_of([&] { plan_of(unordered, pages); }), base::ErrorCode::internal);

  class Liar : public FakePages {
    std::vector<PageRun> existing_pages(std::uint64_t start, std::uint64_t end, bool) override {
      return {{start, end + page_size}};
    }
  } liar;
  snapshot::Process process = testing::example_process();
  testing::add_area(process, 0x20000, 0x30000);
  EXPECT_EQ(testing::error_of([&] { plan_of(process, liar); }), base::ErrorCode::internal);
}

}  // namespace
}  // namespace torpor::image
