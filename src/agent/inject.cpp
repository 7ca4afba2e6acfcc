// How the agent arrives in a program: a stopped thread is sent to inject_entry, starts the agent's
// own thread, and waits to be put back where it was.
//
// At every instant the supervisor may die. Then nobody puts this thread back, and it has to return
// by itself (entry.S), which is why it can only wait in bounded steps and why its registers lie
// ready in the context.
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/sched.h>

#include "agent/agent.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kUnix = 1;
constexpr std::uint64_t kSeqPacketCloseOnExec = 5 | 02000000;
constexpr std::int64_t kPatience = 10;  // seconds that a supervisor may take for the next step
constexpr std::int64_t kSecond = 1000000000;

void agent_thread(void* argument) {
  auto* context = static_cast<Context*>(argument);
  // Our table of descriptors is a copy. The supervisor's end must not be held open by us, or its
  // death would not be noticed.
  raw_syscall(__NR_close, static_cast<std::uint64_t>(context->peer_socket));
  context->agent_tid = static_cast<std::int32_t>(raw_syscall(__NR_gettid));
  store(&context->state, kSocketReady);
  futex_wake(&context->state);
  serve(context);
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

void close_pair(const Context* context) {
  if (context->socket < 0) return;
  raw_syscall(__NR_close, static_cast<std::uint64_t>(context->socket));
  raw_syscall(__NR_close, static_cast<std::uint64_t>(context->peer_socket));
}

}  // namespace

void inject_main(Context* context) {
  const std::int64_t started = start_agent(context);
  const int ours = context->socket;
  const int theirs = context->peer_socket;
  if (started < 0) {
    context->inject_error = static_cast<std::int32_t>(-started);
  } else {
    for (std::int64_t i = 0; i < kPatience && load(&context->proceed) == 0; ++i) {
      futex_wait(&context->proceed, 0, kSecond);
    }
  }
  // The agent may have been told to use another descriptor meanwhile; ours are the ones to close.
  Context closing{};
  closing.socket = ours;
  closing.peer_socket = theirs;
  close_pair(&closing);
  store(&context->state, started < 0 ? kFailed : kWaiting);
  futex_wake(&context->state);
  if (load(&context->proceed) != 0 || started < 0) {
    for (std::int64_t i = 0; load(&context->finish) == 0 && (started >= 0 || i < kPatience); ++i) {
      futex_wait(&context->finish, 0, kSecond);
    }
  }
  store(&context->state, kReturning);
  raw_syscall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address_of(&context->saved_mask), 0, 8);
}

}  // namespace torpor::agent
