// The wrapped calls about signals: whatever could take our two signals from us, or show them.
#include <asm/errno.h>
#include <asm/unistd.h>

#include "agent/resident/ids.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kSetBytes = 8;
constexpr std::uint64_t kUnblockable = bit_of(9) | bit_of(19);  // SIGKILL, SIGSTOP
constexpr std::uint64_t kBlock = 0;
constexpr std::uint64_t kUnblock = 1;
constexpr std::uint64_t kSetMask = 2;
constexpr std::uint64_t kNoSignal = 65;

// The kernel itself is asked whether it can read or write there: everything is blocked, so these
// calls change nothing.
bool readable_set(std::uint64_t set) {
  return raw_syscall(__NR_rt_sigprocmask, kBlock, set, 0, kSetBytes) != -EFAULT;
}
bool writable_set(std::uint64_t set) {
  return raw_syscall(__NR_rt_sigprocmask, kBlock, 0, set, kSetBytes) != -EFAULT;
}
bool readable_action(std::uint64_t action) {
  return raw_syscall(__NR_rt_sigaction, kNoSignal, action, 0, kSetBytes) != -EFAULT;
}

struct FourArguments {
  std::uint64_t a, b, c, d;
};
FourArguments first_four(const Trap& trap) {
  return {trap.args[0], trap.args[1], trap.args[2], trap.args[3]};
}

template <typename T>
T& at(std::uint64_t address) {
  return *reinterpret_cast<T*>(address);
}

std::uint32_t blocked_here() {
  const auto tid = static_cast<std::uint32_t>(raw_syscall(__NR_gettid));
  const ResidentThread* thread = known_thread(tid);
  return thread == nullptr ? 0 : thread->blocked;
}

void set_blocked_here(std::uint32_t bits) {
  if (bits != blocked_here()) this_thread().blocked = bits;
}

std::int64_t act_on_ours(VirtualAction& action, std::uint64_t act, std::uint64_t old) {
  VirtualAction next{};
  if (act != 0) copy_bytes(&next, &at<VirtualAction>(act), sizeof(next));
  if (old != 0) {
    const std::int64_t told = raw_syscall(__NR_rt_sigaction, kTrapSignal, 0, old, kSetBytes);
    if (told < 0) return told;
    copy_bytes(&at<VirtualAction>(old), &action, sizeof(action));
  }
  if (act == 0 || !owns_memory()) return 0;
  next.mask &= ~kUnblockable;
  copy_bytes(&action, &next, sizeof(next));
  return 0;
}

// A handler of a program with a pid table is called by way of us.
void lead_through_us(std::uint64_t signal, KernelAction& action) {
  if (!has_ids() || action.handler <= kIgnore) return;
  __atomic_store_n(&resident().handlers[signal], action.handler, __ATOMIC_RELEASE);
  action.handler = reinterpret_cast<std::uint64_t>(&handler_trampoline);
}
void show_own(KernelAction& action, std::uint64_t handler) {
  if (action.handler == reinterpret_cast<std::uint64_t>(&handler_trampoline)) {
    action.handler = handler;
  }
}

std::int64_t wrap_action(const Trap& trap) {
  const auto [signal, act, old, size] = first_four(trap);
  const bool valid = signal >= 1 && signal < kNoSignal && size == kSetBytes;
  if (!valid) return raw_syscall(__NR_rt_sigaction, signal, act, old, size);
  if (act != 0 && !readable_action(act)) return -EFAULT;
  Resident& own = resident();
  const int ours = index_of_ours(signal);
  if (ours >= 0) return act_on_ours(own.actions[ours], act, old);
  KernelAction stripped{};
  if (act != 0) copy_bytes(&stripped, &at<KernelAction>(act), sizeof(stripped));
  const std::uint32_t bits = blocked_bits(stripped.mask);
  stripped.mask &= ~our_signals();
  const std::uint64_t handler = own.handlers[signal];
  lead_through_us(signal, stripped);
  const std::int64_t result =
      raw_syscall(__NR_rt_sigaction, signal, act != 0 ? address_of(&stripped) : 0, old, kSetBytes);
  if (result < 0) return result;
  std::uint8_t& kept = own.action_masks[signal];
  if (old != 0) show_own(at<KernelAction>(old), handler);
  if (old != 0) at<KernelAction>(old).mask = with_blocked(at<KernelAction>(old).mask, kept);
  if (act != 0 && owns_memory()) kept = static_cast<std::uint8_t>(bits);
  return result;
}

// What the program's mask becomes is what our frame restores.
std::int64_t wrap_mask(const Trap& trap) {
  const auto [how, set, old, size] = first_four(trap);
  if (size != kSetBytes) return -EINVAL;
  const std::uint32_t bits = blocked_here();
  const std::uint64_t before = with_blocked(trap.frame->signal_mask, bits);
  if (set != 0) {
    if (!readable_set(set)) return -EFAULT;
    const std::uint64_t given = at<std::uint64_t>(set);
    if (static_cast<std::uint32_t>(how) > kSetMask) return -EINVAL;
    const std::uint64_t next = static_cast<std::uint32_t>(how) == kBlock     ? before | given
                               : static_cast<std::uint32_t>(how) == kUnblock ? before & ~given
                                                                             : given;
    trap.frame->signal_mask = next & ~our_signals() & ~kUnblockable;
    set_blocked_here(blocked_bits(next));
    send_pending(bits & ~blocked_bits(next));
  }
  if (old == 0) return 0;
  if (!writable_set(old)) return -EFAULT;
  at<std::uint64_t>(old) = before;
  return 0;
}

// A set with ours in it may stand in the frame to which the program's handler returns.
[[noreturn]] void wrap_return(const Trap& trap) {
  auto& frame = at<Frame>(trap.frame->rsp);
  const std::uint32_t bits = blocked_bits(frame.signal_mask);
  const bool is_whole = (frame.flags & kMaskIsWhole) != 0;
  if (bits != 0 || is_whole) {
    frame.signal_mask &= ~our_signals();
    const std::uint32_t before = blocked_here();
    const std::uint32_t after = is_whole ? bits : before | bits;
    set_blocked_here(after);
    send_pending(before & ~after);
  }
  return_from_signal(&frame);
}

// The program makes the call again, now with a set of ours: the filter lets it pass, and the thread
// waits in its own place.
std::int64_t make_again_with(const Trap& trap, std::uint64_t& argument, std::uint64_t replacement) {
  this_thread().program_pointer = argument;
  argument = replacement;
  make_again(trap);
  return kMakeItAgain;
}

std::int64_t wait_with_set(const Trap& trap, std::uint64_t& argument) {
  if (!readable_set(argument)) return -EFAULT;
  ResidentThread& thread = this_thread();
  thread.mask = at<std::uint64_t>(argument) & ~our_signals();
  return make_again_with(trap, argument, address_of(&thread.mask));
}

// Where the set and its size stand, for calls that have no register left for both.
std::int64_t wait_with_place(const Trap& trap, std::uint64_t& argument) {
  if (!readable_set(argument) || !readable_set(argument + 8)) return -EFAULT;
  ResidentThread& thread = this_thread();
  copy_bytes(thread.mask_place, &at<std::uint64_t>(argument), sizeof(thread.mask_place));
  if (thread.mask_place[0] != 0) {
    if (!readable_set(thread.mask_place[0])) return -EFAULT;
    thread.mask = at<std::uint64_t>(thread.mask_place[0]) & ~our_signals();
    thread.mask_place[0] = address_of(&thread.mask);
  }
  return make_again_with(trap, argument, address_of(&thread.mask_place[0]));
}

std::int64_t wrap_signalfd(const Trap& trap) {
  const std::uint64_t set = trap.args[1];
  if (trap.args[2] != kSetBytes) return -EINVAL;
  if (!readable_set(set)) return -EFAULT;
  const std::uint64_t stripped = at<std::uint64_t>(set) & ~our_signals();
  lead_reads_in();
  return raw_syscall(trap.number, trap.args[0], address_of(&stripped), kSetBytes, trap.args[3]);
}

}  // namespace

// Reading is not led in before there is a need.
void lead_reads_in() {
  ExecRecord& record = resident().record;
  if (!has_ids() || record.reads_signals != 0 || install_read_filter() < 0) return;
  record.reads_signals = 1;
  ++record.filters;
}

std::int64_t wrap_signal_call(Trap& trap) {
  constexpr std::int64_t kEpollPwait2 = 441;
  switch (trap.number) {
    case __NR_rt_sigaction: return wrap_action(trap);
    case __NR_rt_sigprocmask: return wrap_mask(trap);
    case __NR_rt_sigreturn: wrap_return(trap);
    case __NR_rt_sigtimedwait:
    case __NR_rt_sigsuspend: return wait_with_set(trap, trap.frame->rdi);
    case __NR_ppoll: return wait_with_set(trap, trap.frame->r10);
    case __NR_epoll_pwait:
    case kEpollPwait2: return wait_with_set(trap, trap.frame->r8);
    case __NR_pselect6:
    case __NR_io_pgetevents: return wait_with_place(trap, trap.frame->r9);
    case __NR_signalfd:
    case __NR_signalfd4: return wrap_signalfd(trap);
    default: return kNotWrapped;
  }
}

}  // namespace torpor::agent
