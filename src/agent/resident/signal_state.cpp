// The two signals that are ours, and how the program sees them: its dispositions, and per thread
// whether it has them blocked. In truth they are never blocked and always have our handlers.
#include <asm/unistd.h>

#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

std::uint64_t stop_signal() { return resident().record.stop_signal; }

bool is_dead(std::uint32_t tid) {
  constexpr std::int64_t kNoSuchThread = -3;
  const auto pid = static_cast<std::uint64_t>(raw_syscall(__NR_getpid));
  return raw_syscall(__NR_tgkill, pid, tid, 0) == kNoSuchThread;
}

bool take(std::uint32_t* place, std::uint32_t from, std::uint32_t to) {
  return __atomic_compare_exchange_n(place, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

void install(std::uint64_t signal, std::uint64_t handler) {
  KernelAction action{};
  action.handler = handler;
  action.flags = kSaSigInfo | kSaRestorer | kSaOnStack | kSaRestart;
  action.restorer = reinterpret_cast<std::uint64_t>(resident_restorer);
  action.mask = kAllSignals;
  raw_syscall(__NR_rt_sigaction, signal, address_of(&action), 0, 8);
}

}  // namespace

std::uint64_t our_signals() { return bit_of(kTrapSignal) | bit_of(stop_signal()); }

std::uint32_t blocked_bits(std::uint64_t mask) {
  return static_cast<std::uint32_t>((mask & bit_of(kTrapSignal)) != 0 ? 1 : 0) |
         static_cast<std::uint32_t>((mask & bit_of(stop_signal())) != 0 ? 2 : 0);
}

std::uint64_t with_blocked(std::uint64_t mask, std::uint32_t bits) {
  mask &= ~our_signals();
  if ((bits & 1) != 0) mask |= bit_of(kTrapSignal);
  if ((bits & 2) != 0) mask |= bit_of(stop_signal());
  return mask;
}

int index_of_ours(std::uint64_t signal) {
  if (signal == kTrapSignal) return 0;
  return signal == stop_signal() ? 1 : -1;
}

ResidentThread* known_thread(std::uint32_t tid) {
  ResidentThread* threads = resident().threads;
  for (std::uint32_t i = 0; i < 64; ++i) {
    ResidentThread& thread = threads[(tid + i) % kResidentThreads];
    if (load(&thread.tid) == tid) return &thread;
    if (load(&thread.tid) == 0) return nullptr;
  }
  return nullptr;
}

// Entries of threads that have ended are taken over when they are in the way.
ResidentThread& this_thread() {
  const auto tid = static_cast<std::uint32_t>(raw_syscall(__NR_gettid));
  if (ResidentThread* known = known_thread(tid)) return *known;
  ResidentThread* threads = resident().threads;
  for (std::uint32_t i = 0;; ++i) {
    ResidentThread& thread = threads[(tid + i) % kResidentThreads];
    const std::uint32_t owner = load(&thread.tid);
    if (owner != 0 && !is_dead(owner)) continue;
    if (!take(&thread.tid, owner, tid)) continue;
    thread.blocked = 0;
    thread.sequence = 0;
    return thread;
  }
}

void install_handlers() {
  install(kTrapSignal, reinterpret_cast<std::uint64_t>(trap_entry));
  install(stop_signal(), reinterpret_cast<std::uint64_t>(stop_entry));
}

void use_default_action(std::uint64_t signal) { install(signal, kDefaultAction); }

void ignore_stop_signal() { install(stop_signal(), kIgnore); }

void claim_memory() {
  store(&resident().process.pid, static_cast<std::uint32_t>(raw_syscall(__NR_getpid)));
}

bool owns_memory() {
  return load(&resident().process.pid) == static_cast<std::uint32_t>(raw_syscall(__NR_getpid));
}

}  // namespace torpor::agent
