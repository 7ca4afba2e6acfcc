/* Every signal's action (handler, flags, mask, restorer), every thread's mask and alternate stack,
 * seen through the raw system calls; and handlers really run where they were told to, one of them
 * all the time. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "check.h"

enum { kSignals = 64, kStack = 65536, kInternal1 = 32, kInternal2 = 33 };

struct KernelAction {
  uintptr_t handler;
  unsigned long flags;
  uintptr_t restorer;
  uint64_t mask;
};

static struct KernelAction expected[kSignals + 1];
static char stacks[3][kStack] __attribute__((aligned(16)));
static _Thread_local const char* volatile stack_in_handler;
static _Thread_local volatile int ran;
static long long end;
static pthread_barrier_t started;

static const int kAutoDisarm = (int)(1u << 31); /* linux/signal.h does not go with signal.h */

/* A restorer that is not the C library's. */
void own_restorer(void);
__asm__(".text\n.type own_restorer, @function\nown_restorer:\n mov $15, %eax\n syscall\n");

static void raw_action(int number, const struct KernelAction* new, struct KernelAction* old) {
  MUST(syscall(SYS_rt_sigaction, number, new, old, sizeof(uint64_t)));
}

static uint64_t raw_mask(void) {
  uint64_t mask = 0;
  MUST(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof mask));
  return mask;
}

static void note(int number) {
  stack_in_handler = __builtin_frame_address(0);
  ran = number;
}

static void note_info(int number, siginfo_t* info, void* context) {
  CHECK(info->si_signo == number && context, "expected signal %d, saw %d", number, info->si_signo);
  note(number);
}

static int settable(int number) {
  return number != SIGKILL && number != SIGSTOP && number != kInternal1 && number != kInternal2;
}

/* A different action for every signal; SIGUSR1 and SIGUSR2 are raised below and get fixed ones. */
static struct KernelAction choose(int number, uintptr_t libc_restorer) {
  static const unsigned long kFlags[] = {
      SA_RESTART, SA_NODEFER, SA_RESETHAND, SA_ONSTACK, SA_RESTART | SA_ONSTACK | SA_NODEFER, 0};
  struct KernelAction it = {.flags = kFlags[number % 6] | 0x04000000 /* SA_RESTORER */};
  it.handler = number % 4 == 0   ? (uintptr_t)SIG_DFL
               : number % 4 == 1 ? (uintptr_t)SIG_IGN
                                 : (uintptr_t)note;
  if (number % 4 == 3) it.handler = (uintptr_t)note_info, it.flags |= SA_SIGINFO;
  it.restorer = number % 2 ? libc_restorer : (uintptr_t)own_restorer;
  it.mask =
      0x123456789abcdefull * (unsigned)number & ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1));
  if (number == SIGCHLD) it.flags |= SA_NOCLDSTOP | SA_NOCLDWAIT;
  if (number == SIGUSR1)
    it.handler = (uintptr_t)note_info, it.flags = SA_SIGINFO | 0x04000000, it.mask = 0;
  if (number == SIGUSR2)
    it.handler = (uintptr_t)note, it.flags = SA_ONSTACK | 0x04000000, it.mask = 0;
  return it;
}

static void set_up_actions(void) {
  struct sigaction plain = {.sa_handler = note};
  MUST(sigaction(SIGUSR1, &plain, NULL));
  struct KernelAction libc;
  raw_action(SIGUSR1, NULL, &libc);
  for (int i = 1; i <= kSignals; ++i) {
    if (settable(i)) {
      struct KernelAction chosen = choose(i, libc.restorer);
      raw_action(i, &chosen, NULL);
    }
    raw_action(i, NULL, &expected[i]);
  }
}

static void check_actions(void) {
  for (int i = 1; i <= kSignals; ++i) {
    struct KernelAction seen;
    raw_action(i, NULL, &seen);
    CHECK(seen.handler == expected[i].handler && seen.flags == expected[i].flags &&
              seen.restorer == expected[i].restorer && seen.mask == expected[i].mask,
          "signal %d: expected handler %#lx flags %#lx restorer %#lx mask %#lx, saw %#lx %#lx %#lx "
          "%#lx",
          i, expected[i].handler, expected[i].flags, expected[i].restorer, expected[i].mask,
          seen.handler, seen.flags, seen.restorer, seen.mask);
  }
}

static void check_thread(const char* stack, size_t size, int flags, uint64_t mask) {
  stack_t seen;
  MUST(sigaltstack(NULL, &seen));
  CHECK_EQ((uintptr_t)seen.ss_sp, (uintptr_t)stack);
  CHECK_EQ(seen.ss_size, size);
  CHECK_EQ(seen.ss_flags, flags);
  CHECK_EQ(raw_mask(), mask);
}

/* SIGUSR1 has to run on the ordinary stack, SIGUSR2 on the alternate one. */
static void raise_both(const char* stack) {
  ZERO(pthread_kill(pthread_self(), SIGUSR1));
  CHECK_EQ(ran, SIGUSR1);
  CHECK(stack_in_handler < stack || stack_in_handler >= stack + kStack, "expected the plain stack");
  ZERO(pthread_kill(pthread_self(), SIGUSR2));
  CHECK_EQ(ran, SIGUSR2);
  CHECK(stack_in_handler >= stack && stack_in_handler < stack + kStack, "expected the other stack");
}

/* Thread 0 and 1: masks and stacks of their own; 1 with a stack that disarms itself. */
static void* watch(void* argument) {
  char* stack = argument;
  int flags = stack == stacks[1] ? kAutoDisarm : 0;
  stack_t own = {.ss_sp = stack, .ss_size = kStack, .ss_flags = flags};
  MUST(sigaltstack(&own, NULL));
  uint64_t mask = flags ? 0x5500ull << 32 | 0x80 : 0x40ull << 40 | 0x20000;
  MUST(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask));
  pthread_barrier_wait(&started);
  do {
    check_actions();
    check_thread(stack, kStack, flags, mask);
    raise_both(stack);
  } while (time_left(end));
  return NULL;
}

static void stay_in_handler(int number) {
  uint64_t mask = raw_mask();
  CHECK(mask >> (number - 1) & 1, "expected signal %d to be blocked in its handler", number);
  pthread_barrier_wait(&started);
  do check_thread(stacks[2], kStack, SS_ONSTACK, mask);
  while (time_left(end));
  ran = number;
}

/* Thread 2 is inside a handler on its alternate stack all the time. */
static void* watch_from_handler(void* argument) {
  stack_t own = {.ss_sp = argument, .ss_size = kStack};
  MUST(sigaltstack(&own, NULL));
  uint64_t mask = raw_mask();
  ZERO(pthread_kill(pthread_self(), SIGSYS));
  CHECK_EQ(ran, SIGSYS);
  check_thread(stacks[2], kStack, 0, mask);
  return NULL;
}

int main(int argc, char** argv) {
  pthread_t threads[3];
  end = end_time(argc, argv);
  ZERO(pthread_barrier_init(&started, NULL, 4));
  set_up_actions();
  struct sigaction stay = {.sa_handler = stay_in_handler, .sa_flags = SA_ONSTACK | SA_RESTART};
  MUST(sigaction(SIGSYS, &stay, NULL));
  raw_action(SIGSYS, NULL, &expected[SIGSYS]);
  for (int i = 0; i < 3; ++i)
    ZERO(pthread_create(&threads[i], NULL, i == 2 ? watch_from_handler : watch, stacks[i]));
  raw_action(kInternal1, NULL,
             &expected[kInternal1]); /* the C library's own, set with the threads */
  raw_action(kInternal2, NULL, &expected[kInternal2]);
  pthread_barrier_wait(&started);
  say("ready");
  for (int i = 0; i < 3; ++i) ZERO(pthread_join(threads[i], NULL));
  say("ok");
  return 0;
}
