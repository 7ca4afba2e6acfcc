#include "resource/scheduling.h"

#include <fcntl.h>
#include <linux/ioprio.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "process/proc_file.h"
#include "process/proc_scan.h"
#include "process/thread_facts.h"
#include "resource/thread_view.h"

namespace torpor::resource {
namespace {

constexpr pid_t kInit = 1;

bool is_fair(std::uint32_t policy) {
  return policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

// Time slices of their own are rare; the kernel's own choice is not to be nailed down.
std::uint64_t own_slice(const process::SchedulingFacts& facts, std::uint64_t usual_slice) {
  return is_fair(facts.policy) && facts.runtime == usual_slice ? 0 : facts.runtime;
}

void put_scheduling(const process::SchedulingFacts& facts, std::uint64_t usual_slice,
                    snapshot::Scheduling& saved) {
  saved.set_policy(facts.policy);
  saved.set_nice(facts.nice);
  saved.set_priority(facts.priority);
  saved.set_flags(facts.flags);
  saved.set_runtime(own_slice(facts, usual_slice));
  saved.set_deadline(facts.deadline);
  saved.set_period(facts.period);
}

bool covers(const std::vector<std::byte>& mask, const std::vector<std::byte>& all) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::byte have = i < mask.size() ? mask[i] : std::byte{0};
    if ((all[i] & ~have) != std::byte{0}) return false;
  }
  return true;
}

std::string policy_name(std::uint32_t policy) {
  switch (policy) {
    case SCHED_NORMAL: return "SCHED_OTHER";
    case SCHED_FIFO: return "SCHED_FIFO";
    case SCHED_RR: return "SCHED_RR";
    case SCHED_BATCH: return "SCHED_BATCH";
    case SCHED_IDLE: return "SCHED_IDLE";
    case SCHED_DEADLINE: return "SCHED_DEADLINE";
    default: return fmt::format("scheduling policy {}", policy);
  }
}

void restore_policy(process::CallList& calls, const snapshot::Scheduling& saved) {
  if (!is_fair(saved.policy()) && saved.nice() != 0) {
    calls.call(SYS_setpriority, {PRIO_PROCESS, 0, saved.nice()},
               fmt::format("set its nice value {}", saved.nice()));
  }
  process::SchedulingFacts facts;
  facts.policy = saved.policy();
  facts.flags =
      saved.flags() & (SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_RECLAIM | SCHED_FLAG_DL_OVERRUN);
  facts.nice = saved.nice();
  facts.priority = saved.priority();
  facts.runtime = saved.runtime();
  facts.deadline = saved.deadline();
  facts.period = saved.period();
  calls.call(SYS_sched_setattr, {0, calls.value(facts), 0},
             fmt::format("set {} with nice value {} and priority {}", policy_name(saved.policy()),
                         saved.nice(), saved.priority()));
}

void restore_affinity(process::CallList& calls, const std::string& saved) {
  if (!saved.empty()) {
    calls.call(SYS_sched_setaffinity,
               {0, saved.size(), calls.data(std::as_bytes(std::span(saved)))},
               "bind itself to the processors that it was bound to");
    return;
  }
  const std::vector<std::byte> all(process::read_affinity(0).size(), std::byte{0xff});
  calls.call(SYS_sched_setaffinity, {0, all.size(), calls.data(all)},
             "be allowed on every processor");
}

void restore_io_priority(process::CallList& calls, int priority) {
  // A kernel without block devices has no such call; then there is nothing to reset either.
  if (priority == 0) {
    calls.try_call(SYS_ioprio_set, {IOPRIO_WHO_PROCESS, 0, 0});
    return;
  }
  calls.call(SYS_ioprio_set, {IOPRIO_WHO_PROCESS, 0, priority},
             fmt::format("set its I/O priority (class {}, level {})", IOPRIO_PRIO_CLASS(priority),
                         IOPRIO_PRIO_DATA(priority)));
}

}  // namespace

std::vector<std::byte> widest_affinity() {
  try {
    return process::read_affinity(kInit);
  } catch (const base::Error&) {
    return process::read_affinity(0);
  }
}

void capture_scheduling(process::HeldProcess& held, snapshot::Process& process) {
  const std::vector<std::byte> all = widest_affinity();
  const std::uint64_t usual_slice = process::read_scheduling(0).runtime;
  for (const ThreadView& thread : threads_with_answers(held, process)) {
    const pid_t tid = thread.stopped->tid();
    put_scheduling(process::read_scheduling(tid), usual_slice, *thread.saved->mutable_scheduling());
    const std::vector<std::byte> affinity = process::read_affinity(tid);
    if (!covers(affinity, all)) thread.saved->set_affinity(affinity.data(), affinity.size());
    thread.saved->set_io_priority(process::read_io_priority(tid));
    thread.saved->set_timer_slack_ns(thread.answers->timer_slack);
  }
}

void restore_scheduling(process::CallList& calls, const snapshot::Thread& thread) {
  // Before the policy: real-time threads have no slack, and cannot be given one (prctl(2)).
  if (thread.timer_slack_ns() > 0) {
    calls.call(SYS_prctl, {PR_SET_TIMERSLACK, thread.timer_slack_ns(), 0, 0, 0},
               "set its timer slack");
  }
  restore_affinity(calls, thread.affinity());
  restore_io_priority(calls, thread.io_priority());
  restore_policy(calls, thread.scheduling());
  // sched_setattr(2) leaves the nice value of idle threads alone.
  if (thread.scheduling().policy() == SCHED_IDLE) {
    calls.try_call(SYS_setpriority, {PRIO_PROCESS, 0, thread.scheduling().nice()});
  }
}

}  // namespace torpor::resource
