// How a process is stopped from inside: the supervisor sends the stop signal, the thread that gets
// it starts the checkpoint thread, and that, told by the supervisor, sends the signal to all
// others. Each waits in its handler, where its registers lie on its own stack.
//
// Nothing here may disturb what the kernel remembers of an interrupted call: no wait with a
// timeout.
#include <asm/errno.h>
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <linux/futex.h>
#include <linux/prctl.h>

#include "agent/resident/checkpoint_thread.h"
#include "agent/resident/clocks.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kOnAlternateStack = 1;
constexpr std::uint64_t kNoAlternateStack = 2;

ParkedThread* place_of(std::uint32_t index) {
  ResidentProcess& process = resident().process;
  while (load(&process.room_ready) == 0) futex_wait(&process.room_ready, 0, -1);
  if (index >= process.room_count) return nullptr;
  return reinterpret_cast<ParkedThread*>(process.room) + index;
}

// sigaltstack(2) would tell of the handler, not of where it has come from.
void answer_stack(const Frame& frame, ThreadAnswers& answers) {
  const std::uint64_t start = frame.stack[0];
  const std::uint64_t flags = frame.stack[1];
  const std::uint64_t bytes = frame.stack[2];
  answers.alternate_stack[0] = start;
  answers.alternate_stack[2] = bytes;
  const bool is_there = frame.rsp > start && frame.rsp - start <= bytes;
  const auto seen = static_cast<std::uint32_t>(flags);
  answers.alternate_stack[1] =
      bytes == 0 ? kNoAlternateStack : seen | (is_there ? kOnAlternateStack : 0);
}

void answer(ParkedThread& place, const Frame& frame) {
  ThreadAnswers& answers = place.answers;
  answer_stack(frame, answers);
  answers.tid_address_result =
      raw_syscall(__NR_prctl, PR_GET_TID_ADDRESS, address_of(&answers.tid_address), 0, 0, 0);
  answers.parent_death_result =
      raw_syscall(__NR_prctl, PR_GET_PDEATHSIG, address_of(&answers.parent_death_signal), 0, 0, 0);
  answers.timer_slack = raw_syscall(__NR_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
  raw_syscall(__NR_arch_prctl, ARCH_GET_FS, address_of(&place.bases[0]));
  raw_syscall(__NR_arch_prctl, ARCH_GET_GS, address_of(&place.bases[1]));
  place.frame = address_of(&frame);
  place.tid = static_cast<std::uint32_t>(raw_syscall(__NR_gettid));
  store(&place.state, kParked);
}

// The kernel lets only the leader queue a signal that looks as if the kernel or kill(2) had sent
// it.
void queue_signals(ParkedThread& place) {
  constexpr std::int32_t kFromProgram = -1;  // SI_QUEUE
  const auto pid = static_cast<std::uint64_t>(raw_syscall(__NR_getpid));
  for (std::uint64_t i = 0; i < place.capacity; ++i) {
    const std::uint64_t address = place.buffer + i * kInfoBytes;
    auto* info = reinterpret_cast<SignalInfo*>(address);
    const auto signal = static_cast<std::uint64_t>(info->signal);
    const std::int32_t code = info->code;
    for (int attempt = 0; attempt < 2; ++attempt) {
      const std::int64_t queued =
          place.target == 0
              ? raw_syscall(__NR_rt_sigqueueinfo, pid, signal, address)
              : raw_syscall(__NR_rt_tgsigqueueinfo, pid, place.target, signal, address);
      if (queued >= 0) break;
      info->code = kFromProgram;
    }
    info->code = code;
  }
}

IdRequest request_of(const ParkedThread& place) {
  IdRequest request{place.call, {}};
  copy_bytes(request.args, place.arguments, sizeof(request.args));
  return request;
}

// The order to stop comes on our stack: nothing else may be told of one now, as it would be used.
void call_again(ParkedThread& place) {
  constexpr std::uint64_t kNoStack[3] = {0, kNoAlternateStack, 0};
  raw_syscall(__NR_sigaltstack, address_of(&kNoStack[0]), 0);
  const std::uint64_t mask = kAllSignals & ~bit_of(resident().record.stop_signal);
  const IdRequest request = request_of(place);
  const ClockCall* row = find_given_time(request);
  const IdKernel kernel{[](void* data, const IdRequest& made) {
                          return call_once(&made.number, static_cast<const std::uint64_t*>(data));
                        },
                        const_cast<std::uint64_t*>(&mask)};
  place.result = row != nullptr ? ClockCaller(id_table().clocks, kernel).call(*row, request)
                                : kernel.make(kernel.data, request);
}

void follow_orders(ParkedThread& place) {
  for (;;) {
    const std::uint32_t order = load(&place.order);
    switch (order) {
      case kGoOn: return;
      case kSpawn: place.result = start_checkpoint_thread(true); break;
      case kTakeSignals:
        place.result = take_signals(place.signals, place.buffer, place.capacity);
        break;
      case kQueueSignals: queue_signals(place); break;
      case kCallAgain: call_again(place); break;
      default: futex_wait(&place.order, order, -1); continue;
    }
    if (order == kSpawn && place.result < 0) let_parked_threads_go();
    std::uint32_t done = order;
    __atomic_compare_exchange_n(&place.order, &done, kWait, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_ACQUIRE);
    futex_wake(&place.order);
  }
}

template <typename From, typename To>
void copy_way(const From& from, To& to) {
  to.how = from.how;
  copy_bytes(to.registers, from.registers, sizeof(to.registers));
  to.behind_call = from.behind_call;
  to.any_handler_ends_it = from.any_handler_ends_it;
  copy_bytes(to.slept, from.slept, sizeof(to.slept));
  to.is_new = from.is_new;
  to.blocked = from.blocked;
  to.interrupted_ns = from.interrupted_ns;
  to.timeout = from.timeout;
}

// Whether a signal that has come meanwhile ends the call in which the thread was stopped.
bool is_ended_by_handler(const WayOut& place, std::uint64_t mask) {
  if (place.behind_call == 0) return false;
  std::uint64_t pending = 0;
  raw_syscall(__NR_rt_sigpending, address_of(&pending), 8);
  pending &= ~mask;
  for (std::uint64_t signal = 1; signal <= 64; ++signal) {
    if ((pending & bit_of(signal)) == 0 || index_of_ours(signal) >= 0) continue;
    KernelAction action{};
    raw_syscall(__NR_rt_sigaction, signal, 0, address_of(&action), 8);
    if (action.handler <= kIgnore) continue;
    if (place.any_handler_ends_it != 0 || (action.flags & kSaRestart) == 0) return true;
  }
  return false;
}

void put_into(Frame& frame, const std::uint64_t* r) {
  // struct user_regs_struct: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip
  // ...
  frame.r15 = r[0], frame.r14 = r[1], frame.r13 = r[2], frame.r12 = r[3];
  frame.rbp = r[4], frame.rbx = r[5], frame.r11 = r[6], frame.r10 = r[7];
  frame.r9 = r[8], frame.r8 = r[9], frame.rax = r[10], frame.rcx = r[11];
  frame.rdx = r[12], frame.rsi = r[13], frame.rdi = r[14];
  frame.rip = r[16], frame.eflags = r[18], frame.rsp = r[19];
}

// The last one out makes room for the next stop.
void leave_handler() {
  ResidentProcess& process = resident().process;
  if (__atomic_sub_fetch(&process.inside, 1, __ATOMIC_SEQ_CST) != 0) return;
  const std::uint64_t stop = __atomic_load_n(&process.stop, __ATOMIC_SEQ_CST);
  std::uint64_t over = __atomic_load_n(&process.ended_stop, __ATOMIC_SEQ_CST);
  if (stop == 0 || stop != over) return;
  // From here on only one does it; who comes for this stop still finds it over.
  if (!__atomic_compare_exchange_n(&process.stop, &over, kCleaning, false, __ATOMIC_SEQ_CST,
                                   __ATOMIC_SEQ_CST)) {
    return;
  }
  process.parked = 0;
  process.ready_to_go = 0;
  process.room_ready = 0;
  process.stop_turn = kNobodysTurn;
  __atomic_store_n(&process.stop, 0, __ATOMIC_SEQ_CST);
}

enum class Part { taken, none, not_yet };

// The first that comes starts the checkpoint thread.
Part take_part(std::uint64_t stop) {
  ResidentProcess& process = resident().process;
  if (stop <= __atomic_load_n(&process.ended_stop, __ATOMIC_SEQ_CST)) return Part::none;
  std::uint64_t present = 0;
  if (!__atomic_compare_exchange_n(&process.stop, &present, stop, false, __ATOMIC_SEQ_CST,
                                   __ATOMIC_SEQ_CST)) {
    if (present == stop) return Part::taken;
    const std::uint64_t over = __atomic_load_n(&process.ended_stop, __ATOMIC_SEQ_CST);
    return present == kCleaning || present <= over ? Part::not_yet : Part::none;
  }
  if (start_checkpoint_thread(false) < 0) let_parked_threads_go();
  return Part::taken;
}

// Waits until those of an earlier stop, which is over, have left.
bool enter_stop(std::uint64_t stop) {
  for (;;) {
    __atomic_fetch_add(&resident().process.inside, 1, __ATOMIC_SEQ_CST);
    const Part part = take_part(stop);
    if (part == Part::taken) return true;
    leave_handler();
    if (part == Part::none) return false;
    raw_syscall(__NR_sched_yield);
  }
}

// The program must not see more threads than it has.
void await_end_of_agent() {
  const Context& context = resident().context;
  const auto pid = static_cast<std::uint64_t>(raw_syscall(__NR_getpid));
  while (const std::uint32_t lives = load(&context.agent_lives)) {
    futex_wait(&context.agent_lives, lives, -1);
  }
  futex_wake(&context.agent_lives);  // the kernel wakes only one of us
  const auto tid = static_cast<std::uint64_t>(context.agent_tid);
  while (raw_syscall(__NR_tgkill, pid, tid, 0) == 0) raw_syscall(__NR_sched_yield);
}

void await_end_of_stop() {
  ResidentProcess& process = resident().process;
  __atomic_fetch_add(&process.ready_to_go, 1, __ATOMIC_SEQ_CST);
  futex_wake(&process.ready_to_go);
  await_end_of_agent();
  stop_as_before();
  leave_handler();
}

// Until the stop is over; what has come of it stands in `out`.
void wait_for_orders(const Frame& frame, WayOut& out) {
  const std::uint32_t index = __atomic_fetch_add(&resident().process.parked, 1, __ATOMIC_ACQ_REL);
  if (ParkedThread* place = place_of(index)) {
    copy_way(out, *place);
    answer(*place, frame);
    follow_orders(*place);
    copy_way(*place, out);
  }
  await_end_of_stop();
}

// Returns to where the thread was, by sigreturn or otherwise.
void go_on(Frame& frame, WayOut& out) {
  constexpr std::int64_t kInterrupted = -EINTR;
  if (is_ended_by_handler(out, frame.signal_mask)) {
    frame.rax = static_cast<std::uint64_t>(kInterrupted);
    frame.rip = out.behind_call;
    return;
  }
  cut_timeout_down(out);
  if (out.how == kChanged) put_into(frame, out.registers);
  if (out.how != kRestarting) return;
  raw_syscall(__NR_sigaltstack, address_of(&frame.stack[0]), 0);  // as sigreturn would
  leave_by_hand(out.registers, frame.extended, &frame.signal_mask);
}

// The supervisor ends call_again(). What has not begun yet will be ended by the next try.
void interrupt_call(const Frame& frame) {
  const bool waited = frame.rip == address_of(&call_once_end[0]);
  if (waited && static_cast<std::int64_t>(frame.rax) == -EINTR) leave_call_once(frame.rsp);
}

// A thread of a restart has sent itself the order, to have a frame of the kernel's make.
void park_new(Frame& frame) {
  __atomic_fetch_add(&resident().process.inside, 1, __ATOMIC_SEQ_CST);
  park(frame);
}

// Again and again, if the process was stopped by a signal when a stop ended, and another came.
void follow_stops(std::uint64_t stop, const Frame& frame, WayOut& out) {
  for (; stop != 0; stop = take_order()) {
    if (enter_stop(stop)) wait_for_orders(frame, out);
  }
}

// As if the signal had come in the midst of what it will go on with.
void put_program_into(Frame& frame, const WayOut& out) {
  constexpr std::int64_t kInterrupted = -EINTR;
  put_into(frame, out.registers);
  if (out.behind_call == 0 || out.any_handler_ends_it == 0) return;
  frame.rax = static_cast<std::uint64_t>(kInterrupted);
  frame.rip = out.behind_call;
}

}  // namespace

void park(Frame& frame) {
  WayOut out{};
  wait_for_orders(frame, out);
  if (out.is_new != 0 && out.blocked != 0) this_thread().blocked = out.blocked;
  if (out.how != kUnchanged) put_program_into(frame, out);
  follow_stops(take_order(), frame, out);
  go_on(frame, out);
}

void on_stop(int signal, SignalInfo* info, Frame* frame) {
  leave_clock(*frame);
  if (!is_order(*info)) {
    deliver_virtual(static_cast<std::uint64_t>(signal), info, frame);
    return;
  }
  if (info->order.stop == kInterruptStop) return interrupt_call(*frame);
  if (info->order.stop == kRestartStop) return park_new(*frame);
  // It is on its way; the order comes again.
  if (in_resident_text(frame->rip)) return leave_blocking_call(*frame, *info);
  if (!owns_memory()) return;  // it borrows this memory
  WayOut out{};
  out.interrupted_ns = monotonic_ns();
  find_own_way(*frame, out);
  follow_stops(info->order.stop, *frame, out);
  go_on(*frame, out);
}

// How many there were.
std::int64_t take_signals(std::uint64_t set, std::uint64_t buffer, std::uint64_t capacity) {
  const std::uint64_t none[2] = {0, 0};
  std::uint64_t count = 0;
  for (; count < capacity; ++count) {
    const std::int64_t got = raw_syscall(__NR_rt_sigtimedwait, address_of(&set),
                                         buffer + count * kInfoBytes, address_of(&none[0]), 8);
    if (got < 0) break;
  }
  return static_cast<std::int64_t>(count);
}

void give_order(ParkedThread& place, std::uint32_t order) {
  store(&place.order, order);
  futex_wake(&place.order);
}

void let_parked_threads_go() {
  ResidentProcess& process = resident().process;
  __atomic_store_n(&process.ended_stop, __atomic_load_n(&process.stop, __ATOMIC_SEQ_CST),
                   __ATOMIC_SEQ_CST);
  if (load(&process.room_ready) == 0) {
    process.room_count = 0;
    store(&process.room_ready, 1);
    futex_wake(&process.room_ready);
    return;
  }
  auto* places = reinterpret_cast<ParkedThread*>(process.room);
  for (std::uint64_t i = 0; i < process.room_count; ++i) give_order(places[i], kGoOn);
}

}  // namespace torpor::agent
