// How the agent arrives in a program: a stopped thread is sent to inject_entry, starts the agent's
// own thread, and waits to be put back where it was.
//
// At every instant the supervisor may die. Then nobody puts this thread back, and it has to return
// by itself (entry.S), which is why it can only wait in bounded steps and why its registers lie
// ready in the context.
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/sched.h>
#include <linux/time_types.h>

#include "agent/agent.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kUnix = 1;
constexpr std::uint64_t kSeqPacketCloseOnExec = 5 | 02000000;
constexpr std::uint64_t kPatience = 200;  // naps that a supervisor may take to take its end
constexpr std::int64_t kNap = 50000000;   // 50 ms

struct PollFd {
  std::int32_t fd;
  std::int16_t events;
  std::int16_t revents;
};

// One nap, or until `fd` can be read (fd -1: just the nap). ppoll, because it is one of the
// few waits with a timeout that leave the thread's restart block alone: the thread may be in the
// middle of an interrupted nanosleep whose remaining time stands there.
bool readable_after_nap(int fd) {
  const __kernel_timespec nap{0, kNap};
  PollFd wait{fd, 1 /* POLLIN */, 0};
  return raw_syscall(__NR_ppoll, address_of(&wait), 1, address_of(&nap)) > 0;
}

void agent_thread(void* argument) {
  auto* context = static_cast<Context*>(argument);
  // Our table of descriptors is a copy. The supervisor's end must not be held open by us, or its
  // death would not be noticed.
  raw_syscall(__NR_close, static_cast<std::uint64_t>(context->peer_socket));
  context->agent_tid = static_cast<std::int32_t>(raw_syscall(__NR_gettid));
  store(&context->state, kSocketReady);
  futex_wake(&context->state);
  // Until the supervisor has taken its end, the thread that brought us in holds it open.
  // It sets `finish` itself when it has to give up before that.
  for (std::uint64_t i = 0; i < kPatience && load(&context->finish) == 0; ++i) {
    if (readable_after_nap(context->socket)) serve(context);
  }
  abandon(context);
}

std::int64_t start_agent(Context* context) {
  int pair[2] = {-1, -1};
  const std::int64_t made =
      raw_syscall(__NR_socketpair, kUnix, kSeqPacketCloseOnExec, 0, address_of(&pair[0]));
  if (made < 0) return made;
  context->socket = pair[0];
  context->peer_socket = pair[1];
  clone_args args{};
  args.flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
               context->agent_clone_flags;
  args.stack = address_of(context->agent_stack);
  args.stack_size = sizeof(context->agent_stack);
  return clone_call(&args, sizeof(args), agent_thread, context);
}

void close_pair(int a, int b) {
  if (a < 0) return;
  raw_syscall(__NR_close, static_cast<std::uint64_t>(a));
  raw_syscall(__NR_close, static_cast<std::uint64_t>(b));
}

// Without a timeout, see above. The agent's thread wakes us, also when the supervisor is lost.
void wait_until_set(const std::uint32_t* word) {
  while (load(word) == 0) futex_wait(word, 0, -1);
}

}  // namespace

void inject_main(Context* context) {
  const std::int64_t started = start_agent(context);
  const bool failed = started < 0;
  const int ours = context->socket;
  const int theirs = context->peer_socket;
  if (failed) {
    context->inject_error = static_cast<std::int32_t>(-started);
  } else {
    wait_until_set(&context->proceed);
  }
  close_pair(ours, theirs);
  store(&context->state, failed ? kFailed : kWaiting);
  futex_wake(&context->state);
  if (failed) {
    for (std::uint64_t i = 0; i < kPatience; ++i) readable_after_nap(-1);
  } else {
    wait_until_set(&context->finish);
  }
  store(&context->state, kReturning);
  raw_syscall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address_of(&context->saved_mask), 0, 8);
}

}  // namespace torpor::agent
