#include "agent/resident/interrupted_call.h"

#include <gtest/gtest.h>

#include <array>

namespace torpor::agent {
namespace {

TEST(InterruptedCall, NumberStandsInTheCode) {
  constexpr std::array<std::uint8_t, 9> kCode{0x31, 0xd2, 0xb8, 0x23, 0, 0, 0, 0x0f, 0x05};
  EXPECT_EQ(call_in_code(kCode.data(), kCode.size()), __NR_nanosleep);
  EXPECT_EQ(call_in_code(kCode.data() + 2, 7), __NR_nanosleep);
  EXPECT_EQ(call_in_code(kCode.data() + 3, 6), -1);
  EXPECT_EQ(call_in_code(kCode.data(), 8), -1);
}

TEST(InterruptedCall, NoNumberThatIsNone) {
  constexpr std::array<std::uint8_t, 7> kTooHigh{0xb8, 0, 0, 1, 0, 0x0f, 0x05};
  EXPECT_EQ(call_in_code(kTooHigh.data(), kTooHigh.size()), -1);
}

TEST(InterruptedCall, WhatTheKernelWouldHaveDone) {
  constexpr std::uint64_t kRelative[6] = {};
  constexpr std::uint64_t kAbsolute[6] = {0, 1};
  EXPECT_EQ(code_before_handler(__NR_clock_nanosleep, kRelative), kRestartBlock);
  EXPECT_EQ(code_before_handler(__NR_clock_nanosleep, kAbsolute), kRestartNoHand);
  EXPECT_EQ(code_before_handler(__NR_epoll_wait, kRelative), kInterruptedCall);
  constexpr std::uint64_t kForEver[6] = {0, FUTEX_WAIT_PRIVATE};
  constexpr std::uint64_t kForAWhile[6] = {0, FUTEX_WAIT_PRIVATE, 0, 4096};
  EXPECT_EQ(code_before_handler(__NR_futex, kForEver), kInterruptedCall);
  EXPECT_EQ(code_before_handler(__NR_futex, kForAWhile), kRestartBlock);
}

}  // namespace
}  // namespace torpor::agent
