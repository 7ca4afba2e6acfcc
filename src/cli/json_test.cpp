#include "cli/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace torpor::cli {
namespace {

TEST(Json, PlainValues) {
  EXPECT_EQ(Json().text(), "null");
  EXPECT_EQ(Json(true).text(), "true");
  EXPECT_EQ(Json(-3).text(), "-3");
  EXPECT_EQ(Json(std::numeric_limits<std::uint64_t>::max()).text(), "18446744073709551615");
  EXPECT_EQ(Json(std::numeric_limits<std::int64_t>::min()).text(), "-9223372036854775808");
  EXPECT_EQ(Json(0.5).text(), "0.5");
  EXPECT_EQ(Json(std::nan("")).text(), "null");
  EXPECT_EQ(Json("x").text(), "\"x\"");
}

TEST(Json, EmptyContainers) {
  EXPECT_EQ(Json::object().text(), "{}");
  EXPECT_EQ(Json::array().text(), "[]");
}

TEST(Json, MembersKeepTheirOrder) {
  Json list = Json::array();
  list.push(1).push("two").push(Json::array());
  Json json = Json::object();
  json.set("z", std::move(list)).set("a", Json::object().set("b", true));
  EXPECT_EQ(json.text(), R"({
  "z": [
    1,
    "two",
    []
  ],
  "a": {
    "b": true
  }
})");
}

TEST(JsonQuote, EscapesWhatMustBe) {
  EXPECT_EQ(json_quote("a\"b\\c/d"), R"("a\"b\\c/d")");
  EXPECT_EQ(json_quote("\n\r\t\b\x1b\x7f"), R"("\n\r\t\u0008\u001b\u007f")");
  EXPECT_EQ(json_quote(std::string("\0x", 2)), R"("\u0000x")");
}

TEST(JsonQuote, KeepsUtf8) {
  for (const char* text : {"ä", "€", "😀", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(json_quote(text), "\"" + std::string(text) + "\"");
  }
}

TEST(JsonQuote, ReplacesWhatIsNot) {
  const std::string mark = "\xef\xbf\xbd";
  EXPECT_EQ(json_quote("a\xff"
                       "b"),
            "\"a" + mark + "b\"");
  EXPECT_EQ(json_quote("\xc3"), "\"" + mark + "\"");             // cut off
  EXPECT_EQ(json_quote("\xc0\xaf"), "\"" + mark + mark + "\"");  // overlong '/'
  EXPECT_EQ(json_quote("\xe0\x80\xaf"), "\"" + mark + mark + mark + "\"");
  EXPECT_EQ(json_quote("\xed\xa0\x80"), "\"" + mark + mark + mark + "\"");  // surrogate
  EXPECT_EQ(json_quote("\xf4\x90\x80\x80"), "\"" + mark + mark + mark + mark + "\"");
  EXPECT_EQ(json_quote("\x80"), "\"" + mark + "\"");
  EXPECT_EQ(json_quote("\xe2\x82x"), "\"" + mark + mark + "x\"");
}

}  // namespace
}  // namespace torpor::cli
