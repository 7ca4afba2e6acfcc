#include "agent/resident/own_filters.h"

#include <asm/errno.h>
#include <asm/stat.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/sched.h>

#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

constexpr std::uint32_t kHead = 6;  // instructions in front
constexpr std::uint64_t kHandedOver =
    offsetof(OwnFilters, code);  // and the code that is in use behind

OwnFilters& area() { return *reinterpret_cast<OwnFilters*>(kOwnFiltersAddress); }

bool map_area() {
  std::uint64_t& there = resident().own_filters;
  if (there != 0) return true;
  constexpr std::uint64_t kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  const std::int64_t mapped = raw_syscall(__NR_mmap, kOwnFiltersAddress, sizeof(OwnFilters),
                                          PROT_READ | PROT_WRITE, kFlags, ~std::uint64_t{0}, 0);
  if (mapped != static_cast<std::int64_t>(kOwnFiltersAddress)) return false;
  there = kOwnFiltersAddress;
  return true;
}

class Locked {
 public:
  Locked() {
    while (__atomic_exchange_n(&area().lock, 1, __ATOMIC_ACQUIRE) != 0) {
      raw_syscall(__NR_sched_yield);
    }
  }
  ~Locked() { __atomic_store_n(&area().lock, 0, __ATOMIC_RELEASE); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
};

// The kernel is asked: everything is blocked, so this changes nothing. A word may lie across two
// pages.
bool is_readable(std::uint64_t address, std::uint64_t bytes) {
  constexpr std::uint64_t kWord = 8;
  const auto word = [](std::uint64_t at) {
    return raw_syscall(__NR_rt_sigprocmask, 0, at, 0, kWord) == 0;
  };
  for (std::uint64_t at = 0; at + kWord <= bytes; at += kPage) {
    if (!word(address + at)) return false;
  }
  return word(address + bytes - kWord);
}

// A directory has a link for each directory in it, itself, and its parent.
bool is_only_task() {
  struct stat status {};
  const std::int64_t error = raw_syscall(__NR_newfstatat, static_cast<std::uint64_t>(AT_FDCWD),
                                         address_of("/proc/self/task"), address_of(&status), 0);
  return error == 0 && status.st_nlink == 3;
}

// unshare(2) refuses this to one thread of many, and does nothing for the only one. A container may
// refuse it to all.
bool is_only_thread() {
  const std::int64_t refused = raw_syscall(__NR_unshare, CLONE_SIGHAND);
  return refused == 0 || (refused != -EINVAL && is_only_task());
}

// Calls made by the agent pass; for all others the filter begins as if it stood alone.
void put_head(sock_filter* to) {
  constexpr auto kHigh = static_cast<std::uint32_t>(kResidentBase >> 32);
  constexpr std::uint32_t kPlace = offsetof(seccomp_data, instruction_pointer);
  to[0] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kPlace + 4);
  to[1] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kHigh, 0, 3);
  to[2] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kPlace);
  to[3] = BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kResidentTextBytes, 1, 0);
  to[4] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  to[5] = BPF_STMT(BPF_LD | BPF_W | BPF_IMM, 0);
}

bool has_room(std::uint16_t length) {
  const OwnFilters& own = area();
  return length != 0 && length <= BPF_MAXINSNS - kHead && own.count < kMostOwnFilters &&
         own.used + length + kHead <= kMostOwnCode;
}

// Precondition: there is room, and all is readable.
std::int64_t install_with_head(const sock_fprog& program, std::uint64_t flags) {
  OwnFilters& own = area();
  sock_filter* code = own.code + own.used;
  put_head(code);
  copy_bytes(code + kHead, program.filter, program.len * sizeof(sock_filter));
  const sock_fprog longer{static_cast<std::uint16_t>(program.len + kHead), code};
  const std::int64_t result =
      raw_syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, address_of(&longer));
  if (result != 0) return result;
  own.filters[own.count] = {own.used + kHead, program.len, static_cast<std::uint32_t>(flags), 0};
  own.used += program.len + kHead;
  __atomic_store_n(&own.count, own.count + 1, __ATOMIC_RELEASE);
  return 0;
}

std::int64_t as_it_is(std::uint64_t flags, std::uint64_t program) {
  const std::int64_t result = raw_syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
  if (result >= 0 && owns_memory() && map_area()) area().others = 1;
  return result;
}

// A notifier, and a filter of one thread among many, are installed as they are: no checkpoint then.
bool can_be_noted(std::uint64_t flags) {
  if ((flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0) return false;
  return (flags & SECCOMP_FILTER_FLAG_TSYNC) != 0 || is_only_thread();
}

// Ours is the stricter answer than these; without us nobody would be there for them either.
void answer(std::uint32_t verdict, SignalInfo& info, Frame& frame) {
  constexpr std::uint32_t kMostError = 4095;
  const std::uint32_t data = verdict & SECCOMP_RET_DATA;
  switch (verdict & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ERRNO:
      frame.rax = std::uint64_t{0} - (data < kMostError ? data : kMostError);
      return;
    case SECCOMP_RET_TRAP:
      info.error = static_cast<std::int32_t>(data);
      return deliver_forced(kTrapSignal, &info, &frame);
    case SECCOMP_RET_TRACE:
    case SECCOMP_RET_USER_NOTIF: frame.rax = std::uint64_t{0} - ENOSYS; return;
    default: end_by(kTrapSignal);
  }
}

}  // namespace

bool has_own_filters() {
  return resident().own_filters != 0 && (area().count != 0 || area().others != 0);
}

std::int64_t install_own_filter(std::uint64_t flags, std::uint64_t program) {
  if (!is_readable(program, sizeof(sock_fprog)) || !map_area()) return as_it_is(flags, program);
  sock_fprog copy;
  copy_bytes(&copy, reinterpret_cast<const void*>(program), sizeof(copy));
  const std::uint64_t bytes = copy.len * sizeof(sock_filter);
  const Locked locked;
  if (!has_room(copy.len) || !is_readable(address_of(copy.filter), bytes)) {
    return as_it_is(flags, program);
  }
  return install_with_head(copy, flags);
}

std::int64_t wrap_seccomp(const Trap& trap) {
  const auto& a = trap.args;
  const bool by_prctl = trap.number == __NR_prctl;
  const std::uint64_t wanted = by_prctl ? SECCOMP_MODE_FILTER : SECCOMP_SET_MODE_FILTER;
  const std::uint64_t operation = by_prctl ? a[1] : static_cast<std::uint32_t>(a[0]);
  if (operation != wanted) return raw_syscall(trap.number, a[0], a[1], a[2], a[3], a[4]);
  const std::uint64_t flags = by_prctl ? 0 : a[1];
  if (!owns_memory() || !can_be_noted(flags)) return as_it_is(flags, a[2]);
  return install_own_filter(flags, a[2]);
}

bool is_judged(SignalInfo& info, Frame& frame) {
  if (resident().own_filters == 0 || area().count == 0) return false;
  const seccomp_data call{info.call.number,
                          info.call.architecture,
                          info.call.address,
                          {frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9}};
  const std::uint32_t verdict = run_filters(area(), call);
  const std::uint32_t action = verdict & SECCOMP_RET_ACTION_FULL;
  if (action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG) return false;
  answer(verdict, info, frame);
  return true;
}

std::int64_t hand_own_filters_over() {
  if (resident().own_filters == 0) return 0;
  const std::int64_t file = raw_syscall(__NR_memfd_create, address_of("torpor-filters"), 0);
  if (file < 0) return file;
  const std::uint64_t bytes = kHandedOver + area().used * sizeof(sock_filter);
  const auto descriptor = static_cast<std::uint64_t>(file);
  if (raw_syscall(__NR_write, descriptor, kOwnFiltersAddress, bytes) !=
          static_cast<std::int64_t>(bytes) ||
      raw_syscall(__NR_lseek, descriptor, 0, 0) != 0) {
    raw_syscall(__NR_close, descriptor);
    return -ENOMEM;
  }
  return file + 1;
}

std::int64_t take_own_filters(std::uint64_t handed) {
  if (handed == 0) return 0;
  if (!map_area()) return -ENOMEM;
  const std::uint64_t descriptor = handed - 1;
  const std::int64_t got =
      raw_syscall(__NR_read, descriptor, kOwnFiltersAddress, sizeof(OwnFilters));
  raw_syscall(__NR_close, descriptor);
  area().lock = 0;
  return got < static_cast<std::int64_t>(kHandedOver) ? -EIO : 0;
}

}  // namespace torpor::agent
