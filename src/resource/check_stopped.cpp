// What only a stopped process, or its own thread, can be asked.
#include <asm/prctl.h>
#include <linux/mempolicy.h>
#include <linux/prctl.h>
#include <sys/syscall.h>

#include "process/landlock.h"
#include "resource/refusals.h"

namespace torpor::resource {
namespace {

using Obstacles = std::vector<Obstacle>;

// Newer than the headers that we are built with.
constexpr int kGetMemoryMerge = 68;  // PR_GET_MEMORY_MERGE, Linux 6.4
constexpr int kGetCpuid = 0x1011;    // ARCH_GET_CPUID, Linux 4.12

void check_dispatch(const process::HeldProcess& held, Obstacles& obstacles) {
  for (const process::StoppedThread* thread : held.threads) {
    if (!thread->dispatches_system_calls()) continue;
    obstacles.push_back({true, held.pid, fmt::format("thread {}", thread->tid()),
                         "its system calls are dispatched to user space "
                         "(PR_SET_SYSCALL_USER_DISPATCH)",
                         "run the program without its emulator or sandbox"});
  }
}

// What prctl and its kin tell of the leader, from whom the agent's thread was born.
void check_leader(process::HeldProcess& held, Obstacles& obstacles) {
  process::Batch batch(*held.agent);
  const base::RemotePtr tsc = batch.space(sizeof(int));
  const base::RemotePtr policy = batch.space(sizeof(int));
  batch.try_call(SYS_prctl, {PR_GET_TSC, tsc, 0, 0, 0});
  batch.try_call(SYS_get_mempolicy, {policy, 0, 0, 0, 0});
  const std::size_t merge = batch.try_call(SYS_prctl, {kGetMemoryMerge, 0, 0, 0, 0});
  const std::size_t cpuid = batch.try_call(SYS_arch_prctl, {kGetCpuid, 0});
  batch.run_and_fetch();
  const auto add = [&](bool found, bool fatal, const char* what, const char* reason) {
    if (found) obstacles.push_back({fatal, held.pid, what, reason, ""});
  };
  add(batch.fetched_value<int>(tsc) == PR_TSC_SIGSEGV, true, "PR_SET_TSC",
      "a forbidden time stamp counter cannot be restored");
  add(batch.result(cpuid) == 0, true, "ARCH_SET_CPUID",
      "a forbidden CPUID instruction cannot be restored");
  add(batch.fetched_value<int>(policy) != MPOL_DEFAULT, false, "memory policy",
      "its NUMA memory policy is not kept by a restart");
  add(batch.result(merge) > 0, false, "PR_SET_MEMORY_MERGE",
      "merging of equal pages is not kept by a restart");
}

void check_landlock(process::HeldProcess& held, Obstacles& obstacles) {
  const unsigned layers = process::landlock_layers(*held.agent);
  if (layers == 0 || layers <= process::own_landlock_layers()) return;
  obstacles.push_back(
      {true, held.pid, "Landlock",
       fmt::format("it is in {} Landlock domains, whose rules nobody can read", layers),
       "run the program without its sandbox"});
}

}  // namespace

void check_stopped(process::HeldProcess& held, std::vector<Obstacle>& obstacles) {
  check_dispatch(held, obstacles);
  check_stopped_system_v(held, obstacles);
  check_leader(held, obstacles);
  check_landlock(held, obstacles);
}

}  // namespace torpor::resource
