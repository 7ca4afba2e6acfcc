// A husk: a process that holds nothing but the agent. A restart grows the tree out of husks.
#include <asm/unistd.h>
#include <linux/mman.h>
#include <linux/sched.h>

#include "agent/agent.h"
#include "agent/clone.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};

void block_all_signals() {
  raw_syscall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address_of(&kAllSignals), 0, 8);
}

// A thread of a program that is being restored. It shares everything with the others already.
void thread_main(void* argument) {
  auto* record = static_cast<ThreadRecord*>(argument);
  take_id(record->tid);
  auto* calls = reinterpret_cast<Call*>(record->calls);
  for (std::uint32_t i = 0; i < record->call_count; ++i) {
    calls[i].result = system_call(calls[i].number, calls[i].args);
    if (calls[i].result < 0 && calls[i].result >= -4095 && calls[i].may_fail == 0) {
      record->failed_call = i;
      record->failed_result = calls[i].result;
      store(&record->state, 2);
      break;
    }
  }
  if (load(&record->state) == 0) store(&record->state, 1);
  await_registers(record);
}

}  // namespace

void husk_main(const BlobHeader* blob) {
  block_all_signals();
  const std::int64_t area = raw_syscall(__NR_mmap, 0, kContextBytes, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS, ~std::uint64_t{0}, 0);
  if (area < 0 && area >= -4095) raw_syscall(__NR_exit_group, 1);
  auto* context = reinterpret_cast<Context*>(area);
  context->code = address_of(blob);
  context->code_bytes = blob->size;
  context->socket = kHuskSocket;
  say_hello(context);
  jump_to(context->code + blob->serve_entry, context);
  __builtin_unreachable();
}

// The child is a copy of this husk with a socket of its own.
std::int64_t fork_husk(Context* context, const Call& call) {
  const std::uint64_t socket = call.args[0];
  clone_args args{};
  args.exit_signal = call.args[3];
  std::int32_t id = 0;
  if (call.args[2] != 0) id = *reinterpret_cast<const std::int32_t*>(call.args[1]);
  choose_id(args, &id);
  std::int64_t pid = raw_syscall(__NR_clone3, address_of(&args), sizeof(args));
  if (may_clone_plainly(pid, args)) pid = clone_plainly(args);
  if (pid != 0) return pid;
  take_id(id);
  raw_syscall(__NR_dup3, socket, kHuskSocket, 02000000);
  raw_syscall(__NR_close, socket);
  raw_syscall(__NR_close_range, kHuskSocket + 1, 0xffffffffU, 0);
  context->socket = kHuskSocket;
  say_hello(context);
  jump_to(reinterpret_cast<std::uint64_t>(serve_entry), context);
  __builtin_unreachable();
}

std::int64_t start_thread(ThreadRecord* record) {
  clone_args args{};
  args.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  args.stack = record->stack_top - 4096;
  args.stack_size = 4096;
  choose_id(args, &record->tid);
  const std::int64_t tid = clone_call(&args, sizeof(args), thread_main, record);
  return may_clone_plainly(tid, args) ? clone_plainly_to(args, thread_main, record) : tid;
}

// Stands where the supervisor (or a shell, or init) stood in the original tree: parent of the root
// and of orphans. Reports every change of state of a child, and ends when there is no child left.
void serve_reaper(int report) {
  struct Report {
    std::int32_t pid;
    std::int32_t status;
  };
  constexpr std::uint64_t kEveryChange = 2 | 8 | 0x40000000;  // WUNTRACED, WCONTINUED, __WALL
  const auto fd = static_cast<std::uint64_t>(report);
  for (;;) {
    std::int32_t status = 0;
    const std::uint64_t wanted[6] = {~std::uint64_t{0}, address_of(&status), kEveryChange, 0, 0, 0};
    const std::int64_t pid = system_call(__NR_wait4, wanted);
    if (pid == -10 /* ECHILD */) break;
    if (pid < 0) continue;
    const Report change{static_cast<std::int32_t>(pid), status};
    raw_syscall(__NR_write, fd, address_of(&change), sizeof(change));
  }
  for (;;) raw_syscall(__NR_exit_group, 0);
}

}  // namespace torpor::agent
