#include "image/page_buffer.h"

#include <gtest/gtest.h>

#include <vector>

namespace torpor::image {
namespace {

TEST(IsZero, SeesEverySingleByteOfAPage) {
  std::vector<std::byte> page(base::page_size);
  EXPECT_TRUE(is_zero(page));
  for (std::byte& byte : page) {
    byte = std::byte{0x80};
    EXPECT_FALSE(is_zero(page)) << &byte - page.data();
    byte = std::byte{0};
  }
}

TEST(IsZero, AnyLengthAndAlignment) {
  std::vector<std::byte> bytes(300);
  for (std::size_t length = 0; length < 200; ++length) {
    for (std::size_t start = 0; start < 9; ++start) {
      EXPECT_TRUE(is_zero(std::span(bytes).subspan(start, length)));
      bytes[start + length] = std::byte{1};  // just behind
      EXPECT_TRUE(is_zero(std::span(bytes).subspan(start, length)));
      EXPECT_FALSE(is_zero(std::span(bytes).subspan(start, length + 1)));
      bytes[start + length] = std::byte{0};
    }
  }
}

TEST(PageBuffer, IsAligned) {
  const PageBuffer buffer(3 * base::page_size);
  EXPECT_EQ(buffer.bytes().size(), 3 * base::page_size);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.bytes().data()) % base::page_size, 0U);
}

}  // namespace
}  // namespace torpor::image
