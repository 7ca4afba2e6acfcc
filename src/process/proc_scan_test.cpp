#include "process/proc_scan.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::ErrorCode;

TEST(Scanner, TakesNumbersWordsAndLiterals) {
  Scanner text("  12\tff -3 word:more", "file");
  EXPECT_EQ(text.number<int>(), 12);
  EXPECT_EQ(text.number<uint32_t>(16), 0xffu);
  EXPECT_EQ(text.number<long>(), -3);
  EXPECT_FALSE(text.accept("other"));
  EXPECT_EQ(text.until(':'), "word");
  EXPECT_EQ(text.until(':'), "");
  EXPECT_EQ(text.word(), "more");
  EXPECT_TRUE(text.empty());
}

TEST(Scanner, RefusesNumbersThatDoNotFit) {
  EXPECT_EQ(Scanner("18446744073709551615", "f").number<uint64_t>(), UINT64_MAX);
  expect_error(ErrorCode::internal, "",
               [] { Scanner("18446744073709551616", "f").number<uint64_t>(); });
  expect_error(ErrorCode::internal, "", [] { Scanner("-1", "f").number<uint64_t>(); });
  expect_error(ErrorCode::internal, "", [] { Scanner("", "f").number<int>(); });
  expect_error(ErrorCode::internal, "", [] { Scanner(" ", "f").word(); });
}

TEST(Scanner, NamesFileAndTextInItsError) {
  Scanner text("7 a\tb", "/proc/5/stat");
  text.number<int>();
  expect_error(ErrorCode::internal, "cannot parse /proc/5/stat at \"a\\tb\"",
               [&] { text.number<int>(); });
}

TEST(Scanner, SplitsLinesWithAndWithoutLastNewline) {
  Scanner text("one\n\ntwo", "file");
  EXPECT_EQ(text.line().rest(), "one");
  EXPECT_EQ(text.line().rest(), "");
  EXPECT_EQ(text.line().rest(), "two");
  EXPECT_TRUE(text.empty());
}

struct Result {
  std::vector<int> a;
  std::vector<int> b;
};

constexpr std::array<Field<Result>, 2> table{{
    {"a", [](Scanner& value, Result& into) { value.numbers(into.a); }},
    {"b", [](Scanner& value, Result& into) { value.numbers(into.b); }},
}};

TEST(ParseFields, FindsFieldsInAnyOrderAndPassesOverOthers) {
  Result result;
  parse_fields(Scanner("b: 1 2 \nno key\nnew: x\na:\nb:3\naa: 9\na: 4\n", "file"), table, result);
  EXPECT_EQ(result.a, std::vector<int>{4});
  EXPECT_EQ(result.b, (std::vector<int>{1, 2, 3}));
}

}  // namespace
}  // namespace torpor::process
