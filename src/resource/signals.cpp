#include "resource/signals.h"

#include <signal.h>
#include <sys/syscall.h>

#include <cstring>
#include <memory>

#include "base/error.h"
#include "resource/thread_view.h"

namespace torpor::resource {
namespace {

constexpr int kSignals = 64;
constexpr std::size_t kMaskBytes = 8;
constexpr unsigned kAutoDisarm = 1U << 31;  // SS_AUTODISARM
constexpr std::size_t kInfoBytes = 128;

// As rt_sigaction(2) has it on x86-64.
struct KernelAction {
  std::uint64_t handler = 0, flags = 0, restorer = 0, mask = 0;
};

bool can_be_handled(int signal) { return signal != SIGKILL && signal != SIGSTOP; }

void capture_actions(process::HeldProcess& held, snapshot::Process& process) {
  process::Batch batch(*held.agent);
  const base::RemotePtr room = batch.space(kSignals * sizeof(KernelAction));
  for (int signal = 1; signal <= kSignals; ++signal) {
    const auto offset = static_cast<std::uint64_t>(signal - 1) * sizeof(KernelAction);
    batch.call(SYS_rt_sigaction, {signal, 0, room + offset, kMaskBytes},
               fmt::format("read the action of signal {}", signal));
  }
  batch.run_and_fetch();
  for (int signal = 1; signal <= kSignals; ++signal) {
    const auto offset = static_cast<std::uint64_t>(signal - 1) * sizeof(KernelAction);
    const auto action = batch.fetched_value<KernelAction>(room + offset);
    snapshot::SignalAction& saved = *process.add_actions();
    saved.set_handler(action.handler);
    saved.set_flags(action.flags);
    saved.set_restorer(action.restorer);
    saved.set_mask(action.mask);
  }
}

// A signal of a POSIX timer is tied to that timer by a number that means nothing to another timer.
void untie_from_timer(siginfo_t& info) {
  if (info.si_code != SI_TIMER) return;
  constexpr std::size_t kPrivate = 32;  // offset of _timer._sys_private
  std::memset(reinterpret_cast<char*>(&info) + kPrivate, 0, sizeof(int));
}

template <typename Repeated>
void put_queue(std::vector<siginfo_t> queue, Repeated& saved) {
  for (siginfo_t& info : queue) {
    untie_from_timer(info);
    saved.Add()->set_info(&info, sizeof(info));
  }
}

void capture_alternate_stack(const ThreadView& thread) {
  stack_t stack{};
  static_assert(sizeof(stack) == sizeof(thread.answers->alternate_stack));
  std::memcpy(&stack, thread.answers->alternate_stack, sizeof(stack));
  const auto start = reinterpret_cast<std::uint64_t>(stack.ss_sp);
  // It answered on a stack of ours. The stack grows down (on_sig_stack() in the kernel).
  const std::uint64_t at = stack.ss_size == 0 ? start : thread.stopped->registers().rsp;
  if (at > start && at - start <= stack.ss_size) stack.ss_flags |= SS_ONSTACK;
  snapshot::AlternateStack& saved = *thread.saved->mutable_alternate_stack();
  saved.set_address(start);
  saved.set_size(stack.ss_size);
  saved.set_flags(static_cast<std::uint32_t>(stack.ss_flags));
}

siginfo_t info_of(const snapshot::Signal& signal) {
  siginfo_t info{};
  if (signal.info().size() != kInfoBytes) {
    throw base::Error(base::ErrorCode::bad_image, "a queued signal has no usable description");
  }
  std::memcpy(&info, signal.info().data(), sizeof(info));
  if (info.si_signo < 1 || info.si_signo > kSignals) {
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("a queued signal has the number {}", info.si_signo));
  }
  return info;
}

std::string purpose(const siginfo_t& info) {
  return fmt::format("queue signal {}, which was waiting", info.si_signo);
}

void restore_alternate_stack(process::CallList& calls, const snapshot::AlternateStack& saved) {
  if (saved.size() == 0 || (saved.flags() & SS_DISABLE) != 0) return;
  stack_t stack{};
  stack.ss_sp = reinterpret_cast<void*>(saved.address());
  stack.ss_size = saved.size();
  stack.ss_flags = static_cast<int>(saved.flags() & kAutoDisarm);
  calls.call(SYS_sigaltstack, {calls.value(stack), 0}, "set its alternate signal stack");
}

}  // namespace

void capture_signals(process::HeldProcess& held, snapshot::Process& process) {
  static_assert(sizeof(siginfo_t) == kInfoBytes);
  capture_actions(held, process);
  const std::vector<ThreadView> threads = threads_with_answers(held, process);
  put_queue(threads.front().stopped->pending_signals(true), *process.mutable_pending());
  for (const ThreadView& thread : threads) {
    put_queue(thread.stopped->pending_signals(false), *thread.saved->mutable_pending());
    capture_alternate_stack(thread);
  }
}

void restore_actions(process::CallList& calls, const snapshot::Process& process) {
  for (int signal = 1; signal <= process.actions_size(); ++signal) {
    if (!can_be_handled(signal)) continue;
    const snapshot::SignalAction& saved = process.actions(signal - 1);
    const KernelAction action{saved.handler(), saved.flags(), saved.restorer(), saved.mask()};
    calls.call(SYS_rt_sigaction, {signal, calls.value(action), 0, kMaskBytes},
               fmt::format("set the action of signal {}", signal));
  }
}

bool has_queued_stop(const snapshot::Process& process) {
  const auto is_stop = [](const snapshot::Signal& signal) {
    return info_of(signal).si_signo == SIGSTOP;
  };
  for (const snapshot::Signal& signal : process.pending()) {
    if (is_stop(signal)) return true;
  }
  for (const snapshot::Thread& thread : process.threads()) {
    for (const snapshot::Signal& signal : thread.pending()) {
      if (is_stop(signal)) return true;
    }
  }
  return false;
}

void restore_queued_signals(process::AgentClient& agent, const snapshot::Process& process) {
  auto batch = std::make_unique<process::Batch>(agent);
  for (const snapshot::Signal& signal : process.pending()) {
    if (!batch->fits(1, kInfoBytes)) {
      batch->run();
      batch = std::make_unique<process::Batch>(agent);
    }
    const siginfo_t info = info_of(signal);
    if (!can_be_handled(info.si_signo)) continue;
    batch->call(SYS_rt_sigqueueinfo, {process.pid(), info.si_signo, batch->value(info)},
                purpose(info));
  }
  if (!batch->empty()) batch->run();
}

void restore_thread_signals(process::CallList& calls, const snapshot::Thread& thread,
                            const snapshot::Process& process) {
  restore_alternate_stack(calls, thread.alternate_stack());
  for (const snapshot::Signal& signal : thread.pending()) {
    const siginfo_t info = info_of(signal);
    if (!can_be_handled(info.si_signo)) continue;
    calls.call(SYS_rt_tgsigqueueinfo,
               {process.pid(), thread.tid(), info.si_signo, calls.value(info)}, purpose(info));
  }
}

}  // namespace torpor::resource
