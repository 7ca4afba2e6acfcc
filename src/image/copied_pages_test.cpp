#include "image/copied_pages.h"

#include <gtest/gtest.h>

#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::page_size;
using base::PageRun;
using testing::FakePages;
using Runs = std::vector<PageRun>;

TEST(CopiedPages, HoldsWhatExistedThen) {
  FakePages memory;
  memory.put_patterns(0x10000, 2);
  memory.put_patterns(0x14000, 1);
  memory.put_patterns(0x20000, 1);
  CopiedPages copy;
  const Runs guards = {{0x11000, 0x12000}};
  copy.copy(memory, 0x10000, 0x18000, false, guards);
  memory.put(0x10000, testing::Page{});  // the program runs on

  EXPECT_EQ(copy.bytes(), 2 * page_size);
  EXPECT_EQ(copy.existing_pages(0, 0x100000, false),
            (Runs{{0x10000, 0x11000}, {0x14000, 0x15000}}));
  EXPECT_EQ(copy.existing_pages(0x14000, 0x100000, false), (Runs{{0x14000, 0x15000}}));
  EXPECT_EQ(copy.existing_pages(0x11000, 0x14000, false), Runs{});
  testing::Page page;
  copy.read(0x10000, page);
  EXPECT_EQ(page, testing::pattern(0x10000));
}

TEST(CopiedPages, ReadsAcrossPiecesAndGaps) {
  FakePages memory;
  memory.put_patterns(0x10000, 4);
  CopiedPages copy;
  copy.copy(memory, Runs{{0x10000, 0x11000}, {0x11000, 0x12000}, {0x13000, 0x14000}});
  std::vector<std::byte> bytes(3 * page_size);
  copy.read(0x10800, bytes);
  std::vector<std::byte> expected(bytes.size());
  memory.read(0x10800, std::span(expected).first(0x1800));
  memory.read(0x13000, std::span(expected).subspan(0x2800));
  EXPECT_EQ(bytes, expected);
  EXPECT_EQ(copy.existing_pages(0x10000, 0x14000, true),
            (Runs{{0x10000, 0x12000}, {0x13000, 0x14000}}));
}

}  // namespace
}  // namespace torpor::image
