#include <asm/unistd.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "agent/resident/own_filters.h"

namespace torpor::agent {
namespace {

using Code = std::vector<sock_filter>;

constexpr std::uint32_t place_of(int argument) {
  return static_cast<std::uint32_t>(offsetof(seccomp_data, args)) +
         8 * static_cast<std::uint32_t>(argument);
}

std::uint32_t run(const Code& code, const seccomp_data& call) {
  return run_filter(code.data(), static_cast<std::uint32_t>(code.size()), call);
}

// What the kernel itself says to getpriority(which, who), as the number of an error.
int kernels_answer(const Code& code, const seccomp_data& call) {
  const pid_t child = ::fork();
  if (child == 0) {
    const sock_fprog program{static_cast<unsigned short>(code.size()),
                             const_cast<sock_filter*>(code.data())};
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) ::_exit(255);
    const long done = ::syscall(call.nr, call.args[0], call.args[1], call.args[2]);
    ::_exit(done == -1 ? errno : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

seccomp_data call_of(std::uint64_t first, std::uint64_t second, std::uint64_t third) {
  return {__NR_getpriority, AUDIT_ARCH_X86_64, 0, {first, second, third}};
}

// Everything a filter may do with two words; the answer is an error of up to 63.
Code computing(int operation, int source, std::uint32_t constant) {
  return {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getpriority, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, place_of(1)),
      BPF_STMT(BPF_MISC | BPF_TAX, 0),
      BPF_STMT(BPF_STX, 7),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, place_of(0)),
      BPF_STMT(BPF_ST, 15),
      BPF_STMT(BPF_LDX | BPF_MEM, 7),
      BPF_STMT(BPF_LD | BPF_MEM, 15),
      BPF_STMT(static_cast<std::uint16_t>(BPF_ALU | operation | source), constant),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 63),
      BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
      BPF_STMT(BPF_RET | BPF_A, 0),
  };
}

TEST(OwnFilters, ComputeAsTheKernelDoes) {
  const int operations[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR,
                            BPF_AND, BPF_XOR, BPF_LSH, BPF_RSH, BPF_NEG};
  const seccomp_data call = call_of(0x80001234, 7, 0);
  for (const int operation : operations) {
    for (const int source : {BPF_K, BPF_X}) {
      if (operation == BPF_NEG && source == BPF_X) continue;
      const Code code = computing(operation, source, operation == BPF_NEG ? 0 : 13);
      const auto said = static_cast<int>(run(code, call) & SECCOMP_RET_DATA);
      EXPECT_EQ(said, kernels_answer(code, call)) << operation << " " << source;
    }
  }
}

TEST(OwnFilters, JumpAsTheKernelDoes) {
  const auto refused = [](std::uint32_t error) {
    return sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
  };
  for (const int test : {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET}) {
    for (const std::uint64_t value : {4, 5, 6, 8}) {
      const Code code{
          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getpriority, 1, 0),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, place_of(2)),
          BPF_JUMP(static_cast<std::uint16_t>(BPF_JMP | test | BPF_K), 5, 0, 2),
          BPF_STMT(BPF_JMP | BPF_JA, 2),
          refused(11),
          refused(12),
          refused(13),
      };
      const seccomp_data call = call_of(0, 0, value);
      const auto said = static_cast<int>(run(code, call) & SECCOMP_RET_DATA);
      EXPECT_EQ(said, kernels_answer(code, call)) << test << " " << value;
    }
  }
}

TEST(OwnFilters, SeesAllOfTheCall) {
  const seccomp_data call{5, 6, 0x700000008, {9, 10, 11, 12, 13, 0x1400000015}};
  const auto word = [&call](std::size_t offset) {
    return run({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)),
                BPF_STMT(BPF_RET | BPF_A, 0)},
               call);
  };
  EXPECT_EQ(word(offsetof(seccomp_data, nr)), 5U);
  EXPECT_EQ(word(offsetof(seccomp_data, arch)), 6U);
  EXPECT_EQ(word(offsetof(seccomp_data, instruction_pointer)), 8U);
  EXPECT_EQ(word(offsetof(seccomp_data, instruction_pointer) + 4), 7U);
  EXPECT_EQ(word(place_of(5)), 0x15U);
  EXPECT_EQ(word(place_of(5) + 4), 0x14U);
  EXPECT_EQ(run({BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_RET | BPF_A, 0)}, call),
            sizeof(call));
}

TEST(OwnFilters, TheStrictestDecidesAndOfEqualOnesTheYoungest) {
  const auto filters = std::make_unique<OwnFilters>();
  const auto add = [&filters](std::uint32_t answer) {
    filters->code[filters->used] = BPF_STMT(BPF_RET | BPF_K, answer);
    filters->filters[filters->count++] = {filters->used++, 1, 0, 0};
    return run_filters(*filters, {});
  };
  EXPECT_EQ(run_filters(*filters, {}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(add(SECCOMP_RET_LOG), SECCOMP_RET_LOG);
  EXPECT_EQ(add(SECCOMP_RET_ERRNO | 1), SECCOMP_RET_ERRNO | 1U);
  EXPECT_EQ(add(SECCOMP_RET_ALLOW), SECCOMP_RET_ERRNO | 1U);
  EXPECT_EQ(add(SECCOMP_RET_ERRNO | 2), SECCOMP_RET_ERRNO | 2U);
  EXPECT_EQ(add(SECCOMP_RET_TRAP | 3), SECCOMP_RET_TRAP | 3U);
  EXPECT_EQ(add(SECCOMP_RET_KILL_PROCESS), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(add(SECCOMP_RET_KILL_THREAD), SECCOMP_RET_KILL_PROCESS);
}

}  // namespace
}  // namespace torpor::agent
