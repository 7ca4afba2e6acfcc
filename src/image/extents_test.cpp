#include "image/extents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::ErrorCode;
using base::page_size;
using ::testing::HasSubstr;

// Three extents, in the file in another order than in memory: 1, 2 and 3 pages.
ExtentTable example() {
  return {77,
          {{0x1000, 2 * page_size, 1, 0, 11},
           {0x8000, 3 * page_size, 2, 0, 22},
           {0xa000, 5 * page_size, 3, 0, 33}}};
}
ExtentTable reordered() {
  return {77, {{0x1000, 4 * page_size, 1, 0, 11}, {0x8000, page_size, 3, 0, 22}}};
}
constexpr std::uint64_t end_of_reordered = 5 * page_size;

std::string problem_of(const std::vector<std::byte>& bytes, std::uint64_t data_end) {
  std::string what;
  const auto code = testing::error_of([&] { decode_extents(bytes, data_end, "7.extents"); }, &what);
  EXPECT_EQ(code, ErrorCode::bad_image);
  EXPECT_THAT(what, HasSubstr("7.extents"));
  return what;
}

TEST(Extents, ComeBackAsTheyWere) {
  const ExtentTable table = reordered();
  const ExtentTable read = decode_extents(encode_extents(table), end_of_reordered, "table");
  EXPECT_EQ(read.header_checksum, 77U);
  EXPECT_EQ(read.extents, table.extents);
}

TEST(Extents, AnEmptyTableIsOne) {
  EXPECT_TRUE(decode_extents(encode_extents({5, {}}), page_size, "table").extents.empty());
}

TEST(Extents, EveryFlippedBitIsFound) {
  const auto good = encode_extents(reordered());
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    SCOPED_TRACE(bit);
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    problem_of(bad, end_of_reordered);
  }
}

TEST(Extents, EveryTruncationAndEveryTailIsFound) {
  auto bytes = encode_extents(reordered());
  auto longer = bytes;
  for (int i = 0; i < 64; ++i) {
    longer.push_back(std::byte{0});
    problem_of(longer, end_of_reordered);
  }
  while (!bytes.empty()) {
    bytes.pop_back();
    problem_of(bytes, end_of_reordered);
  }
}

// Tables with a checksum that fits, but made by somebody who errs or means harm.
TEST(Extents, ImpossibleOnesAreFound) {
  const auto problem = [](auto change) {
    ExtentTable table = reordered();
    change(table.extents);
    return problem_of(encode_extents(table), end_of_reordered);
  };
  using Table = std::vector<PageExtent>;
  EXPECT_THAT(problem([](Table& t) { t[1].file_offset += page_size; }), HasSubstr("cover"));
  EXPECT_THAT(problem([](Table& t) { t[1].file_offset = 0; }), HasSubstr("impossible"));
  EXPECT_THAT(problem([](Table& t) { t[1].file_offset = ~std::uint64_t{0} << 12U; }),
              HasSubstr("impossible"));
  EXPECT_THAT(problem([](Table& t) { t[0].vaddr += 1; }), HasSubstr("impossible"));
  EXPECT_THAT(problem([](Table& t) { t[1].vaddr = ~std::uint64_t{0} << 12U; }),
              HasSubstr("impossible"));
  EXPECT_THAT(problem([](Table& t) { t[0].pages = 0; }), HasSubstr("impossible"));
  EXPECT_THAT(problem([](Table& t) { t[0].pages = max_extent_pages + 1; }),
              HasSubstr("impossible"));
  EXPECT_THAT(problem([](Table& t) { t[0].flags = 1; }), HasSubstr("impossible"));
  EXPECT_THAT(problem([](Table& t) { t[0].vaddr = 0x9000; }), HasSubstr("overlap"));
  EXPECT_THAT(problem([](Table& t) { std::swap(t[0], t[1]); }), HasSubstr("order"));
  EXPECT_THAT(problem([](Table& t) { t.pop_back(); }), HasSubstr("cover"));
}

TEST(Extents, GapBeforeTheFirstIsFound) { problem_of(encode_extents(example()), 8 * page_size); }

}  // namespace
}  // namespace torpor::image
