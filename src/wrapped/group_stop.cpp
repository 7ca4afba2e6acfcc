#include "wrapped/group_stop.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/proc_tree.h"
#include "process/stopped_tree.h"

namespace torpor::wrapped {
namespace {

constexpr std::uint64_t bit_of(int signal) { return std::uint64_t{1} << (signal - 1); }

// Who cannot be looked at has ended, and is no obstacle.
bool is_stopped_or_gone(pid_t pid, pid_t tid) {
  try {
    const char state = process::read_stat(pid, tid).state;
    return state == 'T' || state == 'Z' || state == 'X';
  } catch (const base::Error&) {
    return true;
  }
}

}  // namespace

bool is_in_group_stop(pid_t pid) {
  try {
    return process::read_stat(pid, process::living_thread(pid)).state == 'T';
  } catch (const base::Error&) {
    return false;
  }
}

// What is not collected yet stands in the exit code.
GroupStop read_group_stop(pid_t pid) {
  const process::Stat stat = process::read_stat(pid);
  const int told = stat.exit_code;
  const bool is_stop = told == SIGSTOP || told == SIGTSTP || told == SIGTTIN || told == SIGTTOU;
  return {is_stop ? told : SIGSTOP, told == 0, stat.ppid};
}

// Synchronous signals, and lower ones, of the thread's own come first.
void check_next_signal(pid_t pid, int stop_signal) {
  constexpr std::uint64_t kSynchronous = bit_of(SIGSEGV) | bit_of(SIGBUS) | bit_of(SIGILL) |
                                         bit_of(SIGTRAP) | bit_of(SIGFPE) | bit_of(SIGSYS);
  const std::uint64_t first = kSynchronous | (bit_of(stop_signal) - 1);
  for (const pid_t tid : process::list_threads(pid)) {
    const process::Status status = process::read_status(pid, tid);
    if ((status.sig_pnd & ~status.sig_blk & first) == 0) continue;
    throw base::Error(
        base::ErrorCode::refused,
        fmt::format("process {} is stopped, and its thread {} has a signal before it", pid, tid),
        fmt::format("let it go on (kill -CONT {}) and try again", pid));
  }
}

bool has_pending(pid_t pid, int signal) {
  return (process::read_status(pid).shd_pnd & bit_of(signal)) != 0;
}

void drop_signal(process::AgentClient& agent, int signal) {
  process::Batch batch(agent);
  const base::RemotePtr set = batch.value(bit_of(signal));
  const base::RemotePtr at_once = batch.value(timespec{});
  batch.try_call(SYS_rt_sigtimedwait, {set, 0, at_once, sizeof(std::uint64_t)});
  batch.run();
}

void collect_stop(process::AgentClient& parent, pid_t child) {
  process::Batch batch(parent);
  batch.try_call(SYS_waitid, {P_PID, child, 0, WSTOPPED | WNOHANG, 0});
  batch.run();
}

void await_group_stop(pid_t pid) {
  constexpr auto kPatience = std::chrono::milliseconds(1000);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  const auto all_stopped = [pid] {
    return std::ranges::all_of(process::list_threads(pid),
                               [pid](pid_t tid) { return is_stopped_or_gone(pid, tid); });
  };
  while (!all_stopped() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

}  // namespace torpor::wrapped
