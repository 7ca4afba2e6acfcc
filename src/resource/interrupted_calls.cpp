#include "resource/interrupted_calls.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "process/proc_sched_clock.h"
#include "process/proc_stat.h"
#include "process/proc_syscall.h"
#include "process/proc_tree.h"
#include "process/remote_memory.h"
#include "resource/kept_timeouts.h"

namespace torpor::resource {
namespace {

constexpr std::int64_t kRestartSys = -512;
constexpr std::int64_t kRestartNoHand = -514;
constexpr std::int64_t kRestartBlock = -516;
constexpr std::int64_t kMillisecond = 1000000;
constexpr std::int64_t kSecond = 1000000000;
constexpr std::uint64_t kRedZone = 128;

using Arguments = CallArguments;

Arguments arguments_of(const process::Registers& r) {
  return {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9};
}

// Calls that return EINTR after a stop even though no handler ran (signal(7)), among those that can
// be made on what torpor restores.
bool never_restarted(std::int64_t number) {
  constexpr std::array<std::int64_t, 21> kCalls{
      SYS_epoll_wait,   SYS_epoll_pwait,  SYS_epoll_pwait2, SYS_rt_sigtimedwait, SYS_semop,
      SYS_semtimedop,   SYS_io_getevents, SYS_read,         SYS_write,           SYS_readv,
      SYS_writev,       SYS_recvfrom,     SYS_recvmsg,      SYS_recvmmsg,        SYS_sendto,
      SYS_sendmsg,      SYS_sendmmsg,     SYS_accept,       SYS_accept4,         SYS_connect,
      SYS_io_pgetevents};
  return std::find(kCalls.begin(), kCalls.end(), number) != kCalls.end();
}

// Where a call's relative timeout stands.
struct Timeout {
  int milliseconds_argument = -1;  // an int in that register
  int timespec_argument = -1;      // a pointer
};

std::optional<Timeout> relative_timeout(std::int64_t number, const Arguments& a) {
  switch (number) {
    case SYS_poll: return Timeout{2, -1};
    case SYS_epoll_wait:
    case SYS_epoll_pwait: return Timeout{3, -1};
    case SYS_epoll_pwait2: return Timeout{-1, 3};
    case SYS_nanosleep: return Timeout{-1, 0};
    case SYS_rt_sigtimedwait: return Timeout{-1, 2};
    case SYS_semtimedop: return Timeout{-1, 3};
    case SYS_io_getevents:
    case SYS_io_pgetevents: return Timeout{-1, 4};
    case SYS_clock_nanosleep:
      if ((a[1] & TIMER_ABSTIME) != 0) return std::nullopt;
      return Timeout{-1, 2};
    case SYS_futex:
      if ((a[1] & FUTEX_CMD_MASK) != FUTEX_WAIT) return std::nullopt;
      return Timeout{-1, 3};
    default: return std::nullopt;
  }
}

// Nothing: no timeout, or none that can be read.
std::optional<std::int64_t> length_of(pid_t pid, const Timeout& timeout, const Arguments& a) {
  if (timeout.milliseconds_argument >= 0) {
    const auto milliseconds =
        static_cast<std::int32_t>(a[static_cast<std::size_t>(timeout.milliseconds_argument)]);
    if (milliseconds < 0) return std::nullopt;
    return milliseconds * kMillisecond;
  }
  const std::uint64_t pointer = a[static_cast<std::size_t>(timeout.timespec_argument)];
  if (pointer == 0) return std::nullopt;
  try {
    const auto length = process::read_value<timespec>(pid, base::RemotePtr(pointer));
    return length.tv_sec * kSecond + length.tv_nsec;
  } catch (const base::Error&) {
    return std::nullopt;
  }
}

void look_at_thread(pid_t pid, pid_t tid, process::SchedClocks& clocks, WaitLog& log) {
  const auto blocked = process::blocked_syscall(pid, tid);
  const auto known = log.waits.find(tid);
  if (!blocked || blocked->nr < 0) {
    // It may be on its way into the call that it was stopped in.
    if (known != log.waits.end()) known->second.maybe_over = true;
    return;
  }
  Arguments arguments{};
  std::copy(std::begin(blocked->args), std::end(blocked->args), arguments.begin());
  const bool same_wait = known != log.waits.end() && known->second.arguments == arguments;
  if (blocked->nr == SYS_restart_syscall && same_wait) return;
  if (!relative_timeout(blocked->nr, arguments)) {
    log.waits.erase(tid);
    return;
  }
  const auto slept = clocks.since_last_run_ns(pid, tid);
  log.waits[tid] = {blocked->nr, arguments,
                    base::clock_ns() - static_cast<std::int64_t>(slept.value_or(0)), 0, false};
}

// The set of signals may have been an agent's, instead of the program's (docs/wrapped-mode.md).
bool same_arguments(std::int64_t number, const Arguments& a, const Arguments& b) {
  const std::size_t first = number == SYS_rt_sigtimedwait ? 1 : 0;
  return std::equal(a.begin() + first, a.end(), b.begin() + first);
}

// The wait in which the thread was stopped; made up from "it has only just begun" if the look did
// not see it.
WaitLog::Wait& wait_of(WaitLog& log, pid_t tid, std::int64_t number, const Arguments& arguments,
                       std::int64_t stopped_ns) {
  WaitLog::Wait& wait = log.waits[tid];
  const bool same_call =
      number == SYS_restart_syscall || (wait.number == number && !wait.maybe_over);
  const bool same = same_arguments(number, wait.arguments, arguments) && same_call;
  if (!same) wait = {number, arguments, stopped_ns, 0, false};
  wait.maybe_over = false;
  return wait;
}

std::optional<std::int64_t> time_left(pid_t pid, WaitLog::Wait& wait, std::int64_t stopped_ns) {
  if (wait.deadline_ns == 0) {
    const auto timeout = relative_timeout(wait.number, wait.arguments);
    const auto length = timeout ? length_of(pid, *timeout, wait.arguments) : std::nullopt;
    if (!length) return std::nullopt;
    wait.deadline_ns = wait.began_ns + *length;
  }
  return std::max<std::int64_t>(0, wait.deadline_ns - stopped_ns);
}

unsigned long long* argument_register(process::Registers& r, int index) {
  const std::array<unsigned long long*, 6> slots{&r.rdi, &r.rsi, &r.rdx, &r.r10, &r.r8, &r.r9};
  return slots[static_cast<std::size_t>(index)];
}

// The call will be entered again with `left` instead of its timeout. A timespec goes to `place`; it
// is read at entry only.
void shorten(process::Registers& registers, pid_t pid, base::RemotePtr place,
             const Timeout& timeout, std::int64_t left) {
  if (timeout.milliseconds_argument >= 0) {
    *argument_register(registers, timeout.milliseconds_argument) =
        static_cast<std::uint64_t>((left + kMillisecond - 1) / kMillisecond);
    return;
  }
  const timespec rest{left / kSecond, left % kSecond};
  try {
    process::write_value(pid, place, rest);
  } catch (const base::Error&) {
    return;  // no room below the stack: the whole timeout runs again
  }
  *argument_register(registers, timeout.timespec_argument) = place.address();
}

bool is_entered_again(const process::Registers& registers) {
  return static_cast<std::int64_t>(registers.rax) == kRestartNoHand;
}

void keep_call_alive(process::StoppedThread& thread, WaitLog& log, std::int64_t stopped_ns) {
  process::Registers registers = thread.registers();
  const auto number = static_cast<std::int64_t>(registers.orig_rax);
  if (is_entered_again(registers)) {
    note_kept_timeout(thread, number, arguments_of(registers), stopped_ns, log.kept_deadlines);
  }
  if (static_cast<std::int64_t>(registers.rax) != -EINTR || !never_restarted(number)) return;
  const Arguments arguments = arguments_of(registers);
  const auto timeout = relative_timeout(number, arguments);
  if (timeout && length_of(thread.tid(), *timeout, arguments)) {
    WaitLog::Wait& wait = wait_of(log, thread.tid(), number, arguments, stopped_ns);
    const auto left = time_left(thread.tid(), wait, stopped_ns);
    if (left) shorten(registers, thread.tid(), thread.scratch(), *timeout, *left);
    wait.arguments = arguments_of(registers);  // what the next look will see
  }
  registers.rax = static_cast<std::uint64_t>(kRestartNoHand);
  thread.set_registers(registers);
}

void age_given_timeout(process::StoppedThread& thread, process::Registers registers, WaitLog& log) {
  using Form = process::RunningTimeout::Form;
  const auto number = static_cast<std::int64_t>(registers.orig_rax);
  const Arguments arguments = arguments_of(registers);
  const auto known = log.waits.find(thread.tid());
  if (known == log.waits.end() || known->second.arguments != arguments) return;
  WaitLog::Wait& wait = known->second;
  const auto timeout = relative_timeout(number, arguments);
  if (wait.number != number || wait.deadline_ns == 0 || !timeout) return;
  shorten(registers, thread.tid(), thread.scratch(), *timeout,
          std::max<std::int64_t>(0, wait.deadline_ns - base::clock_ns()));
  wait.arguments = arguments_of(registers);
  thread.set_registers(registers);
  const bool in_register = timeout->milliseconds_argument >= 0;
  const auto argument = static_cast<std::size_t>(in_register ? timeout->milliseconds_argument
                                                             : timeout->timespec_argument);
  thread.cut_down_on_leaving(
      in_register
          ? process::RunningTimeout{Form::milliseconds, argument, wait.deadline_ns}
          : process::RunningTimeout{Form::timespec, wait.arguments[argument], wait.deadline_ns});
}

// nanosleep and clock_nanosleep write the time left to where the program asked for it, if it did.
std::optional<std::int64_t> reported_left(pid_t pid, std::int64_t number, const Arguments& a) {
  const std::uint64_t place = number == SYS_nanosleep         ? a[1]
                              : number == SYS_clock_nanosleep ? a[3]
                                                              : 0;
  if (place == 0) return std::nullopt;
  try {
    const auto left = process::read_value<timespec>(pid, base::RemotePtr(place));
    return left.tv_sec * kSecond + left.tv_nsec;
  } catch (const base::Error&) {
    return std::nullopt;
  }
}

}  // namespace

void look_at_waits(std::span<const pid_t> members, WaitLog& log) {
  process::SchedClocks clocks;
  for (const pid_t pid : members) {
    try {
      for (const pid_t tid : process::list_threads(pid)) look_at_thread(pid, tid, clocks, log);
    } catch (const base::Error& error) {
      if (error.code() != base::ErrorCode::program_gone) throw;
    }
  }
}

void keep_calls_alive(process::HeldProcess& held, WaitLog& log, std::int64_t stopped_ns) {
  for (process::StoppedThread* thread : held.threads) keep_call_alive(*thread, log, stopped_ns);
}

void let_calls_age(process::HeldProcess& held, WaitLog& log) {
  for (process::StoppedThread* const thread : held.threads) {
    const process::Registers registers = thread->registers();
    if (!is_entered_again(registers)) continue;
    const auto number = static_cast<std::int64_t>(registers.orig_rax);
    const bool kept =
        age_kept_timeout(*thread, number, arguments_of(registers), log.kept_deadlines);
    if (!kept) age_given_timeout(*thread, registers, log);
  }
}

void let_saved_call_age(pid_t pid, snapshot::Thread& saved, std::int64_t elapsed_ns) {
  process::Registers registers{};
  std::memcpy(&registers, saved.registers().general().data(), sizeof(registers));
  const auto result = static_cast<std::int64_t>(registers.rax);
  if (elapsed_ns <= 0 || result < kRestartNoHand || result > kRestartSys) return;
  const auto number = static_cast<std::int64_t>(registers.orig_rax);
  const Arguments arguments = arguments_of(registers);
  age_kept_timeout(pid, number, arguments, elapsed_ns);
  const auto timeout = relative_timeout(number, arguments);
  const auto length = timeout ? length_of(pid, *timeout, arguments) : std::nullopt;
  if (!length) return;
  const base::RemotePtr place((registers.rsp - kRedZone - sizeof(timespec)) & ~std::uint64_t{15});
  shorten(registers, pid, place, *timeout, std::max<std::int64_t>(0, *length - elapsed_ns));
  saved.mutable_registers()->set_general(&registers, sizeof(registers));
}

void capture_interrupted_calls(process::HeldProcess& held, WaitLog& log, std::int64_t stopped_ns,
                               std::int64_t now_ns, snapshot::Process& process,
                               std::vector<std::string>& warnings) {
  std::size_t index = held.leader_dead ? 1 : 0;
  for (const process::StoppedThread* stopped : held.threads) {
    snapshot::Thread& thread = *process.mutable_threads(static_cast<int>(index++));
    const process::Registers registers = stopped->registers();
    if (static_cast<std::int64_t>(registers.rax) != kRestartBlock) continue;
    const auto number = static_cast<std::int64_t>(registers.orig_rax);
    const Arguments arguments = arguments_of(registers);
    WaitLog::Wait& wait = wait_of(log, stopped->tid(), number, arguments, stopped_ns);
    const auto reported = reported_left(held.memory_pid(), wait.number, arguments);
    if (reported) wait.deadline_ns = stopped_ns + *reported;
    const auto left = time_left(held.memory_pid(), wait, now_ns);
    if (wait.number == SYS_restart_syscall) {
      warnings.push_back(
          fmt::format("process {} thread {}: the call in which it waits was restarted before and "
                      "cannot be told "
                      "any more; after a restart it will return EINTR",
                      held.seen_pid, thread.tid()));
      continue;
    }
    snapshot::InterruptedCall& call = *thread.mutable_interrupted_call();
    call.set_number(wait.number);
    call.set_remaining_ns(left.value_or(-1));
  }
}

CallAgain call_again_of(pid_t pid, const snapshot::Thread& saved, base::RemotePtr scratch,
                        std::int64_t elapsed_ns) {
  process::Registers registers{};
  std::memcpy(&registers, saved.registers().general().data(), sizeof(registers));
  const snapshot::InterruptedCall& saved_call = saved.interrupted_call();
  CallAgain call;
  call.number = saved_call.number();
  call.saved_arguments = arguments_of(registers);
  const auto timeout = relative_timeout(call.number, call.saved_arguments);
  const std::int64_t left_ns = std::max<std::int64_t>(0, saved_call.remaining_ns() - elapsed_ns);
  call.began_ns = base::clock_ns();
  if (timeout && saved_call.remaining_ns() >= 0) {
    call.deadline_ns = call.began_ns + left_ns;
    if (timeout->milliseconds_argument >= 0) {
      *argument_register(registers, timeout->milliseconds_argument) =
          static_cast<std::uint64_t>((left_ns + kMillisecond - 1) / kMillisecond);
    } else {
      process::write_value(pid, scratch, timespec{left_ns / kSecond, left_ns % kSecond});
      *argument_register(registers, timeout->timespec_argument) = scratch.address();
    }
  }
  call.arguments = arguments_of(registers);
  return call;
}

// With an absolute timeout too: it will not tell what it was.
void note_call_again(pid_t tid, const CallAgain& call, WaitLog& log) {
  log.waits[tid] = {call.number, call.saved_arguments, call.began_ns, call.deadline_ns, false};
}

std::int64_t begin_call_again(process::Tracee& thread, const snapshot::Thread& saved,
                              base::RemotePtr syscall_instruction, base::RemotePtr scratch,
                              std::int64_t elapsed_ns, WaitLog& log) {
  const CallAgain call = call_again_of(thread.tid(), saved, scratch, elapsed_ns);
  process::Registers registers{};
  std::memcpy(&registers, saved.registers().general().data(), sizeof(registers));
  for (int i = 0; i < 6; ++i) {
    *argument_register(registers, i) = call.arguments[static_cast<std::size_t>(i)];
  }
  registers.rip = syscall_instruction.address();
  registers.rax = static_cast<std::uint64_t>(call.number);
  registers.orig_rax = ~std::uint64_t{0};
  thread.set_registers(registers);
  const std::uint64_t mask = thread.signal_mask();
  constexpr int kEnoughToBlockMs = 2;
  thread.make_call(kEnoughToBlockMs);
  thread.finish_call();
  thread.set_signal_mask(mask);
  const auto result = static_cast<std::int64_t>(thread.registers().rax);
  if (result == kRestartBlock) note_call_again(thread.tid(), call, log);
  return result;
}

void end_unknown_call(snapshot::Thread& saved) {
  process::Registers registers{};
  std::memcpy(&registers, saved.registers().general().data(), sizeof(registers));
  if (static_cast<std::int64_t>(registers.rax) != kRestartBlock) return;
  registers.rax = static_cast<std::uint64_t>(-EINTR);
  registers.orig_rax = ~std::uint64_t{0};
  saved.mutable_registers()->set_general(&registers, sizeof(registers));
}

}  // namespace torpor::resource
