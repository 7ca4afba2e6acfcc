// Which system calls of the program are led into the agent: a seccomp filter (seccomp(2)),
// installed once per computation; it goes along through fork and exec and cannot be taken off
// again.
//
// What a call is decides first, its arguments next, from where it is made last: so the kernel finds
// by itself that all other calls always pass and does not run the filter for them (Linux 5.11).
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

// A call that is wrapped only if an argument says so.
struct MaskCall {
  std::uint32_t number;
  std::uint32_t argument;  // points to a signal set, or to where one is found
};

constexpr std::uint32_t kAlways[] = {
    __NR_rt_sigaction, __NR_rt_sigprocmask, __NR_rt_sigreturn, __NR_execve,
    __NR_execveat,     __NR_readlink,       __NR_readlinkat,   __NR_fork,
    __NR_signalfd,     __NR_signalfd4,      __NR_seccomp,      __NR_rseq,
};
// Led in only until they use a set of ours.
constexpr MaskCall kWithMask[] = {
    {__NR_rt_sigtimedwait, 0}, {__NR_rt_sigsuspend, 0}, {__NR_ppoll, 3},
    {__NR_pselect6, 5},        {__NR_epoll_pwait, 4},   {441 /* epoll_pwait2 */, 4},
    {__NR_io_pgetevents, 5},
};
constexpr std::uint32_t kPrctls[] = {PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_GET_SECCOMP,
                                     PR_SET_SECCOMP};
constexpr std::uint32_t kClone3 = 435;
constexpr std::uint32_t kX32 = 0x40000000;
constexpr std::uint32_t kHigh = kResidentBase >> 32;

enum Label : std::uint8_t {
  kNext = 0xf0,
  kTrapCheck,
  kTrap,
  kAllow,
  kNotThere,
  kClone,
  kPrctl,
  kClone3Check,
  kFirstMask
};

struct Program {
  sock_filter code[128]{};
  std::uint16_t count = 0;

  constexpr void add(std::uint16_t op, std::uint32_t k, std::uint8_t yes = 0, std::uint8_t no = 0) {
    code[count++] = sock_filter{op, yes, no, k};
  }
  constexpr void load(std::uint32_t offset) { add(BPF_LD | BPF_W | BPF_ABS, offset); }
  constexpr void load_argument(std::uint32_t index, bool high) {
    load(static_cast<std::uint32_t>(offsetof(seccomp_data, args) + 8 * index + (high ? 4 : 0)));
  }
  constexpr void jump(std::uint16_t test, std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
    add(static_cast<std::uint16_t>(BPF_JMP | BPF_K | test), value, yes, no);
  }
  constexpr void answer(std::uint32_t value) { add(BPF_RET | BPF_K, value); }
};

constexpr std::uint8_t label_of_mask(std::size_t index) {
  return static_cast<std::uint8_t>(kFirstMask + index);
}

// With labels for targets.
constexpr Program draft(std::uint16_t* places) {
  Program p;
  p.load(offsetof(seccomp_data, arch));
  p.jump(BPF_JEQ, AUDIT_ARCH_X86_64, kNext, kAllow);
  p.load(offsetof(seccomp_data, nr));
  p.jump(BPF_JGE, kX32, kNotThere, kNext);
  for (const std::uint32_t number : kAlways) p.jump(BPF_JEQ, number, kTrapCheck, kNext);
  for (std::size_t i = 0; i < sizeof(kWithMask) / sizeof(MaskCall); ++i) {
    p.jump(BPF_JEQ, kWithMask[i].number, label_of_mask(i), kNext);
  }
  p.jump(BPF_JEQ, __NR_clone, kClone, kNext);
  p.jump(BPF_JEQ, __NR_prctl, kPrctl, kNext);
  p.jump(BPF_JEQ, kClone3, kClone3Check, kAllow);
  for (std::size_t i = 0; i < sizeof(kWithMask) / sizeof(MaskCall); ++i) {
    places[label_of_mask(i)] = p.count;
    p.load_argument(kWithMask[i].argument, true);
    p.jump(BPF_JEQ, kHigh, kNext, 2);
    p.load_argument(kWithMask[i].argument, false);
    p.jump(BPF_JGE, kResidentTextBytes, kAllow, kTrapCheck);
    p.jump(BPF_JEQ, 0, kNext, kTrapCheck);
    p.load_argument(kWithMask[i].argument, false);
    p.jump(BPF_JEQ, 0, kAllow, kTrapCheck);
  }
  places[kClone] = p.count;
  p.load_argument(0, false);
  p.jump(BPF_JSET, CLONE_VM, kAllow, kTrapCheck);
  places[kPrctl] = p.count;
  p.load_argument(0, false);
  for (const std::uint32_t option : kPrctls) p.jump(BPF_JEQ, option, kTrapCheck, kNext);
  p.answer(SECCOMP_RET_ALLOW);
  places[kClone3Check] = p.count;
  p.load(offsetof(seccomp_data, instruction_pointer) + 4);
  p.jump(BPF_JEQ, kHigh, kNext, kNotThere);
  p.load(offsetof(seccomp_data, instruction_pointer));
  p.jump(BPF_JGE, kResidentTextBytes, kNotThere, kAllow);
  places[kTrapCheck] = p.count;
  p.load(offsetof(seccomp_data, instruction_pointer) + 4);
  p.jump(BPF_JEQ, kHigh, kNext, kTrap);
  p.load(offsetof(seccomp_data, instruction_pointer));
  p.jump(BPF_JGE, kResidentTextBytes, kTrap, kAllow);
  places[kTrap] = p.count;
  p.answer(SECCOMP_RET_TRAP);
  places[kAllow] = p.count;
  p.answer(SECCOMP_RET_ALLOW);
  places[kNotThere] = p.count;
  p.answer(SECCOMP_RET_ERRNO | 38 /* ENOSYS */);
  return p;
}

constexpr std::uint8_t distance(const std::uint16_t* places, std::uint16_t from, std::uint8_t to) {
  if (to < kNext) return to;
  return to == kNext ? 0 : static_cast<std::uint8_t>(places[to] - from - 1);
}

constexpr Program assemble() {
  std::uint16_t places[256]{};
  Program p = draft(places);
  for (std::uint16_t i = 0; i < p.count; ++i) {
    if ((p.code[i].code & 7) != BPF_JMP) continue;
    p.code[i].jt = distance(places, i, p.code[i].jt);
    p.code[i].jf = distance(places, i, p.code[i].jf);
  }
  return p;
}

constexpr Program kProgram = assemble();

}  // namespace

// Needs no privilege once no new privileges can be had any more.
std::int64_t install_filter() {
  const sock_fprog program{kProgram.count, const_cast<sock_filter*>(kProgram.code)};
  raw_syscall(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return raw_syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, address_of(&program));
}

}  // namespace torpor::agent
