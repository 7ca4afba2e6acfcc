// The vdso of this very process, and one that is not understood.
#include "agent/resident/clock_vdso.h"

#include <gtest/gtest.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <cstring>
#include <ctime>
#include <vector>

namespace torpor::agent {
namespace {

const std::uint8_t* own_vdso() {
  return reinterpret_cast<const std::uint8_t*>(getauxval(AT_SYSINFO_EHDR));
}

ClockStub plan(const std::vector<std::uint8_t>& vdso) {
  ClockStub stub{};
  EXPECT_TRUE(
      plan_clock_stub(vdso.data(), vdso.size(), reinterpret_cast<std::uint64_t>(own_vdso()), stub));
  return stub;
}

class ClockVdso : public testing::Test {
 protected:
  std::vector<std::uint8_t> vdso{own_vdso(), own_vdso() + vdso_bytes(own_vdso())};
  std::size_t entry = plan(vdso).entry - reinterpret_cast<std::uint64_t>(own_vdso());
};

TEST_F(ClockVdso, TheStubIsTheFunction) {
  const ClockStub stub = plan(vdso);
  ASSERT_GT(stub.count, 0) << "the function of this kernel is not understood";
  void* code = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memcpy(code, stub.code, sizeof stub.code);
  ASSERT_EQ(mprotect(code, 4096, PROT_READ | PROT_EXEC), 0);
  const auto function = reinterpret_cast<long (*)(clockid_t, timespec*)>(code);
  for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE,
                                CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID}) {
    SCOPED_TRACE(clock);
    timespec before{}, told{}, after{};
    clock_gettime(clock, &before);
    EXPECT_EQ(function(clock, &told), 0);
    clock_gettime(clock, &after);
    const auto ns = [](const timespec& time) { return time.tv_sec * 1000000000 + time.tv_nsec; };
    EXPECT_LE(ns(before), ns(told));
    EXPECT_LE(ns(told), ns(after));
  }
  timespec told{};
  EXPECT_NE(function(12345, &told), 0);
  munmap(code, 4096);
}

TEST_F(ClockVdso, PlacesInTheStubAndInTheFunction) {
  const ClockStub stub = plan(vdso);
  constexpr std::uint64_t kBase = 0x10000;
  EXPECT_EQ(place_in_stub(stub, kBase, stub.entry), kBase);
  for (unsigned i = 0; i < stub.count; ++i) {
    const std::uint64_t place = stub.entry + stub.steps[i].from;
    EXPECT_EQ(place_in_function(stub, stub.steps[i].to), place);
    EXPECT_EQ(place_in_stub(stub, kBase, place), kBase + stub.steps[i].to);
  }
  EXPECT_EQ(place_in_stub(stub, kBase, stub.entry + 100), 0U);
}

TEST_F(ClockVdso, WhatStoodThereIsKept) {
  EXPECT_EQ(std::memcmp(plan(vdso).head, vdso.data() + entry, kHeadBytes), 0);
}

TEST_F(ClockVdso, InstructionsThatAreNotUnderstood) {
  vdso[entry] = 0x0f, vdso[entry + 1] = 0x0b;  // ud2
  EXPECT_EQ(plan(vdso).count, 0);
}

// A loop back to the middle of what would be overwritten.
TEST_F(ClockVdso, AJumpIntoTheHead) {
  const std::size_t from = entry + 40;
  vdso[from] = 0xeb, vdso[from + 1] = static_cast<std::uint8_t>(-(40 + 2 - 5));
  EXPECT_EQ(plan(vdso).count, 0);
}

TEST_F(ClockVdso, NoVdsoAtAll) {
  ClockStub stub{};
  const std::vector<std::uint8_t> zeros(4096);
  EXPECT_FALSE(plan_clock_stub(zeros.data(), zeros.size(), 0, stub));
  vdso.resize(64);
  EXPECT_FALSE(plan_clock_stub(vdso.data(), vdso.size(), 0, stub));
}

TEST_F(ClockVdso, TheJump) {
  std::uint8_t jump[kPatchBytes + 1] = {};
  jump[kPatchBytes] = 0x77;
  put_jump(jump, 0x1122334455667788);
  const std::uint8_t expected[] = {0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44,
                                   0x33, 0x22, 0x11, 0xff, 0xe0, 0x77};
  EXPECT_EQ(std::memcmp(jump, expected, sizeof expected), 0);
}

}  // namespace
}  // namespace torpor::agent
