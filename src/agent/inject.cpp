// How the agent arrives in a program: a stopped thread is sent to inject_entry, starts the agent's
// own thread, and waits to be put back where it was.
//
// At every instant the supervisor may die. Then nobody puts this thread back, and it has to return
// by itself (entry.S), which is why its registers lie ready, in the detour and in the context.
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/sched.h>
#include <linux/time_types.h>

#include "agent/agent.h"
#include "agent/clone.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kUnix = 1;
constexpr std::uint64_t kSeqPacketCloseOnExec = 5 | 02000000;
constexpr std::uint64_t kPatience = 200;  // naps that a supervisor may take to take its end
constexpr std::int64_t kNap = 50000000;   // 50 ms

char* append(char* to, const char* text) {
  while (*text != '\0') *to++ = *text++;
  return to;
}

char* append(char* to, std::uint64_t number) {
  if (number >= 10) to = append(to, number / 10);
  *to++ = static_cast<char>('0' + number % 10);
  return to;
}

bool begins_with(const char* text, const char* wanted) {
  while (*wanted != '\0') {
    if (*text++ != *wanted++) return false;
  }
  return true;
}

// The thread that brought us in is traced as long as the supervisor lives. A tracer in an outer pid
// namespace is not shown, nor is any without /proc.
bool shows_tracer(const Context* context) {
  char path[64];
  *append(append(append(path, "/proc/self/task/"), context->bringer_tid), "/status") = '\0';
  const std::int64_t file =
      raw_syscall(__NR_open, address_of(&path[0]), 02000000 /* O_CLOEXEC */, 0);
  if (file < 0) return false;
  char text[1024];
  const std::int64_t size = raw_syscall(__NR_read, static_cast<std::uint64_t>(file),
                                        address_of(&text[0]), sizeof(text) - 1);
  raw_syscall(__NR_close, static_cast<std::uint64_t>(file));
  for (std::int64_t i = 0; i < size; ++i) {
    text[size] = '\0';
    if (text[i] == '\n' && begins_with(text + i + 1, "TracerPid:\t")) {
      return !begins_with(text + i + 1, "TracerPid:\t0");
    }
  }
  return false;
}

// The supervisor, which lives, will put the thread that brought us in back.
[[noreturn]] void end_unreached(Context* context) {
  store(&context->proceed, 1);
  futex_wake(&context->proceed);
  for (;;) raw_syscall(__NR_exit, 0);
}

void agent_thread(void* argument) {
  auto* context = static_cast<Context*>(argument);
  // Our table of descriptors is a copy. The supervisor's end must not be held open by us, or its
  // death would not be noticed.
  raw_syscall(__NR_close, static_cast<std::uint64_t>(context->peer_socket));
  context->agent_tid = static_cast<std::int32_t>(raw_syscall(__NR_gettid));
  store(&context->state, kSocketReady);
  futex_wake(&context->state);
  // Until the supervisor has taken its end, the thread that brought us in holds it open, and its
  // death shows only there.
  bool was_shown = false;
  for (std::uint64_t i = 0; i < kPatience; ++i) {
    if (load(&context->give_up) != 0) end_unreached(context);
    const bool shown = shows_tracer(context);
    if (was_shown && !shown) break;
    was_shown = shown;
    if (readable_within(context->socket, kNap)) serve(context);
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
  context->bringer_tid = static_cast<std::uint32_t>(raw_syscall(__NR_gettid));
  clone_args args{};
  args.flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
               CLONE_CHILD_CLEARTID | context->agent_clone_flags;
  args.child_tid = address_of(&context->agent_lives);
  args.stack = address_of(context->agent_stack);
  args.stack_size = sizeof(context->agent_stack);
  const std::int64_t tid = clone_call(&args, sizeof(args), agent_thread, context);
  return may_clone_plainly(tid, args) ? clone_plainly_to(args, agent_thread, context) : tid;
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

std::uint64_t inject_main(Context* context) {
  const std::int64_t started = start_agent(context);
  const bool failed = started < 0;
  if (failed) store(&context->agent_lives, 0);
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
    for (std::uint64_t i = 0; i < kPatience; ++i) readable_within(-1, kNap);
  } else {
    wait_until_set(&context->finish);
  }
  store(&context->state, kReturning);
  while (load(&context->agent_lives) != 0) futex_wait(&context->agent_lives, 1, -1);
  if (context->way_back != 0) return context->way_back;
  raw_syscall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address_of(&context->saved_mask), 0, 8);
  return 0;
}

}  // namespace torpor::agent
