// Processes that a signal has stopped (SIGSTOP, the suspend key). The supervisor lets them go on
// for the stop from inside, with the order queued to every thread, so that none comes to the
// program; before they leave our handler they are stopped again.
#include <asm/unistd.h>

#include "agent/resident/checkpoint_thread.h"
#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kContinue = 18;  // SIGCONT
constexpr std::uint64_t kBlock = 0;
constexpr std::uint64_t kUnblock = 1;

std::uint64_t own_pid() { return static_cast<std::uint64_t>(raw_syscall(__NR_getpid)); }
std::uint64_t own_tid() { return static_cast<std::uint64_t>(raw_syscall(__NR_gettid)); }

union Taken {
  SignalInfo info;
  std::uint8_t whole[kInfoBytes];
};

void queue_again(std::uint64_t signal, const Taken& taken) {
  raw_syscall(__NR_rt_tgsigqueueinfo, own_pid(), own_tid(), signal, address_of(&taken));
}

// Somebody wants it to go on. It shows because we block the signal; the supervisor's own is
// dropped, if it has not done that.
bool was_continued() {
  Taken taken{};
  while (take_signals(bit_of(kContinue), address_of(&taken), 1) == 1) {
    if (is_order(taken.info)) continue;
    queue_again(kContinue, taken);
    return true;
  }
  return false;
}

// All threads stop with us, wherever they are; we return when the process has been continued.
void stop_by(std::uint64_t signal) {
  const std::uint64_t set = bit_of(signal);
  raw_syscall(__NR_rt_sigprocmask, kUnblock, address_of(&set), 0, 8);
  raw_syscall(__NR_tgkill, own_pid(), own_tid(), signal);
  raw_syscall(__NR_rt_sigprocmask, kBlock, address_of(&set), 0, 8);
}

}  // namespace

void stop_as_before() {
  ResidentProcess& process = resident().process;
  std::uint32_t turn = kNobodysTurn;
  if (__atomic_compare_exchange_n(&process.stop_turn, &turn, kStopping, false, __ATOMIC_SEQ_CST,
                                  __ATOMIC_SEQ_CST)) {
    // Before the stop: the next supervisor may write it again while we are in it.
    const std::uint32_t signal = __atomic_exchange_n(&process.stop_again, 0, __ATOMIC_SEQ_CST);
    if (signal != 0 && !was_continued()) stop_by(signal);
    store(&process.stop_turn, kTurnOver);
    futex_wake(&process.stop_turn);
    return;
  }
  while (load(&process.stop_turn) == kStopping) futex_wait(&process.stop_turn, kStopping, -1);
}

bool is_order(const SignalInfo& info) {
  return info.code == kOrderCode && info.order.computation == resident().record.computation;
}

// The order may also have come twice.
std::uint64_t take_order() {
  const std::uint64_t signal = resident().record.stop_signal;
  Taken taken{};
  while (take_signals(bit_of(signal), address_of(&taken), 1) == 1) {
    if (!is_order(taken.info)) {  // the program's: it comes when we have left
      queue_again(signal, taken);
      break;
    }
    const std::uint64_t stop = taken.info.order.stop;
    if (stop > __atomic_load_n(&resident().process.ended_stop, __ATOMIC_SEQ_CST)) return stop;
  }
  return 0;
}

}  // namespace torpor::agent
