#include "supervisor/names.h"

#include <gtest/gtest.h>

#include "image/store.h"

namespace torpor::supervisor {
namespace {

TEST(BaseName, IsTheLastComponent) {
  EXPECT_EQ(base_name("python3"), "python3");
  EXPECT_EQ(base_name("/usr/bin/python3"), "python3");
  EXPECT_EQ(base_name("./a.out"), "a.out");
  EXPECT_EQ(base_name("dir/prog/"), "prog");
}

TEST(BaseName, OddCharactersAreReplaced) {
  EXPECT_EQ(base_name("my prog@2"), "my_prog_2");
  EXPECT_EQ(base_name("g++-12"), "g++-12");
  EXPECT_EQ(base_name("\xc3\xa4"), "__");
}

TEST(BaseName, DoesNotBeginLikeAnOptionOrHiddenFile) {
  EXPECT_EQ(base_name("-sh"), "sh");
  EXPECT_EQ(base_name("/opt/.wrapped-x"), "wrapped-x");
  EXPECT_EQ(base_name("-.-"), "program");
}

TEST(BaseName, IsNeverEmpty) {
  EXPECT_EQ(base_name(""), "program");
  EXPECT_EQ(base_name("/"), "program");
  EXPECT_EQ(base_name("///"), "program");
}

TEST(BaseName, AlwaysMakesAName) {
  for (int c = 1; c < 256; ++c) {
    const std::string program(100, static_cast<char>(c));
    EXPECT_NO_THROW(image::check_name(base_name(program))) << c;
    EXPECT_LE(base_name(program).size(), 60U);
  }
}

}  // namespace
}  // namespace torpor::supervisor
