// When somebody sends the program one of the two signals that are ours: it gets it as if it were
// its own.
#include <asm/unistd.h>

#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kNoDefer = 0x40000000;    // SA_NODEFER
constexpr std::uint64_t kResetHand = 0x80000000;  // SA_RESETHAND

std::uint64_t here() { return static_cast<std::uint64_t>(raw_syscall(__NR_getpid)); }

// The frame that the kernel has built for us becomes that of the program's handler.
[[noreturn]] void enter_handler(std::uint64_t signal, const VirtualAction& action, SignalInfo* info,
                                Frame* frame) {
  auto* return_address = reinterpret_cast<std::uint64_t*>(frame) - 1;
  *return_address = action.restorer;
  ResidentThread& thread = this_thread();
  const std::uint64_t before = with_blocked(frame->signal_mask, thread.blocked);
  frame->signal_mask = before;
  frame->flags |= kMaskIsWhole;
  const std::uint64_t own = (action.flags & kNoDefer) != 0 ? 0 : bit_of(signal);
  const std::uint64_t inside = before | action.mask | own;
  thread.blocked = blocked_bits(inside);
  Frame entry{};
  entry.flags = kStrictSegments;
  copy_bytes(entry.stack, frame->stack, sizeof(entry.stack));
  entry.rdi = signal;
  entry.rsi = address_of(info);
  entry.rdx = address_of(frame);
  entry.rip = action.handler;
  entry.rsp = address_of(return_address);
  entry.eflags = kPlainFlags;
  entry.cs = frame->cs;
  entry.ss = frame->ss;
  entry.signal_mask = inside & ~our_signals();
  return_from_signal(&entry);
}

}  // namespace

// As a signal without a handler ends a program: with its number in the status.
[[noreturn]] void end_by(std::uint64_t signal) {
  use_default_action(signal);
  const std::uint64_t only = ~bit_of(signal);
  raw_syscall(__NR_tgkill, here(), static_cast<std::uint64_t>(raw_syscall(__NR_gettid)), signal);
  raw_syscall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address_of(&only), 0, 8);
  for (;;) raw_syscall(__NR_exit_group, 128 + signal);
}

void deliver_forced(std::uint64_t signal, SignalInfo* info, Frame* frame) {
  const int index = index_of_ours(signal);
  const ResidentThread* thread = known_thread(static_cast<std::uint32_t>(raw_syscall(__NR_gettid)));
  const bool blocked = thread != nullptr && (thread->blocked & (1U << index)) != 0;
  if (blocked || resident().actions[index].handler == kIgnore) end_by(signal);
  deliver_virtual(signal, info, frame);
}

void deliver_virtual(std::uint64_t signal, SignalInfo* info, Frame* frame) {
  if (!owns_memory() || in_resident_text(frame->rip)) return;
  Resident& own = resident();
  const int index = index_of_ours(signal);
  const auto tid = static_cast<std::uint32_t>(raw_syscall(__NR_gettid));
  const ResidentThread* thread = known_thread(tid);
  const std::uint32_t bit = 1U << index;
  if (thread != nullptr && (thread->blocked & bit) != 0) {
    copy_bytes(own.pending_info[index], info, sizeof(own.pending_info[index]));
    __atomic_fetch_or(&own.pending, bit, __ATOMIC_ACQ_REL);
    return;
  }
  VirtualAction& slot = own.actions[index];
  VirtualAction action{};
  copy_bytes(&action, &slot, sizeof(action));
  if (action.handler == kIgnore) return;
  if (action.handler == kDefaultAction) end_by(signal);
  if ((action.flags & kResetHand) != 0) slot.handler = kDefaultAction;
  enter_handler(signal, action, info, frame);
}

// Some of ours that were pending are blocked no more: they come when the wrapped call returns.
void send_pending(std::uint32_t bits) {
  Resident& own = resident();
  for (int index = 0; index < 2; ++index) {
    const std::uint32_t bit = 1U << index;
    if ((bits & bit) == 0) continue;
    if ((__atomic_fetch_and(&own.pending, ~bit, __ATOMIC_ACQ_REL) & bit) == 0) continue;
    const std::uint64_t signal = index == 0 ? kTrapSignal : own.record.stop_signal;
    const auto tid = static_cast<std::uint64_t>(raw_syscall(__NR_gettid));
    const std::int64_t sent = raw_syscall(__NR_rt_tgsigqueueinfo, here(), tid, signal,
                                          address_of(&own.pending_info[index][0]));
    if (sent < 0) raw_syscall(__NR_tgkill, here(), tid, signal);
  }
}

}  // namespace torpor::agent
