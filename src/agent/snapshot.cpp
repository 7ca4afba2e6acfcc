// The copy-on-write copy of the process's memory: a fork that is nobody's child.
#include <asm/unistd.h>
#include <linux/sched.h>

#include "agent/agent.h"
#include "agent/clone.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kWaitAll = 0x40000000;  // __WALL
constexpr std::uint64_t kSetName = 15;          // PR_SET_NAME

// Says that it is there (the supervisor learns its pid from the credentials of this message) and
// then only exists, until the supervisor closes its end or dies.
[[noreturn]] void stay_frozen(int control) {
  const auto fd = static_cast<std::uint64_t>(control);
  raw_syscall(__NR_prctl, kSetName, address_of("torpor-frozen"));
  std::byte note{};
  raw_syscall(__NR_sendto, fd, address_of(&note), 1, 0x4000);
  while (raw_syscall(__NR_recvfrom, fd, address_of(&note), 1) > 0) {
  }
  for (;;) raw_syscall(__NR_exit_group, 0);
}

// Shares the program's memory, but not its descriptors: closes its own copies of them, so that the
// frozen copy holds nothing open that the program closes later, and leaves an orphan.
void helper(void* argument) {
  auto* context = static_cast<Context*>(argument);
  const auto control = static_cast<std::uint64_t>(context->snapshot_control);
  if (control > 0) raw_syscall(__NR_close_range, 0, control - 1, 0);
  raw_syscall(__NR_close_range, control + 1, 0xffffffffU, 0);
  clone_args args{};
  args.flags = CLONE_UNTRACED;
  std::int64_t pid = raw_syscall(__NR_clone3, address_of(&args), sizeof(args));
  if (may_clone_plainly(pid, args)) pid = clone_plainly(args);
  if (pid == 0) stay_frozen(static_cast<int>(control));
  context->snapshot_pid = static_cast<std::int32_t>(pid);
  for (;;) raw_syscall(__NR_exit_group, 0);
}

}  // namespace

std::int64_t snapshot(Context* context, int control) {
  context->snapshot_control = control;
  context->snapshot_pid = -11;  // EAGAIN, should the helper die before it says otherwise
  clone_args args{};
  // No exit signal: neither SIGCHLD nor an ordinary wait() shows the helper to the program.
  args.flags = CLONE_VM | CLONE_VFORK | CLONE_UNTRACED;
  args.stack = address_of(context->helper_stack);
  args.stack_size = sizeof(context->helper_stack);
  std::int64_t helper_pid = clone_call(&args, sizeof(args), helper, context);
  if (may_clone_plainly(helper_pid, args)) helper_pid = clone_plainly_to(args, helper, context);
  if (helper_pid < 0) return helper_pid;
  raw_syscall(__NR_wait4, static_cast<std::uint64_t>(helper_pid), 0, kWaitAll, 0);
  return context->snapshot_pid;
}

}  // namespace torpor::agent
