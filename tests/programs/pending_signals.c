/* Signals that are pending while blocked, for the process and for one thread, with their siginfo,
 * the real-time ones queued in order. Rounds of: queue, hold for --hold-ms (150), take. */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include "check.h"

enum { kQueued = 5 };

static pthread_barrier_t turn;
static pthread_t main_thread;
static int over;
static volatile int handled[kQueued], handled_count;

static sigset_t set_of(const int* numbers, int count) {
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < count; ++i) sigaddset(&set, numbers[i]);
  return set;
}

static void expect_pending(const int* numbers, int count, const char* whose) {
  sigset_t expected = set_of(numbers, count), seen;
  MUST(sigpending(&seen));
  for (int i = 1; i <= SIGRTMAX; ++i)
    CHECK(sigismember(&seen, i) == sigismember(&expected, i), "%s signal %d: expected %d, saw %d",
          whose, i, sigismember(&expected, i), sigismember(&seen, i));
}

/* The next pending one of `number` has to have this code and value, and come from this process. */
static siginfo_t take(int number, int code) {
  const struct timespec none = {0, 0};
  sigset_t set = set_of(&number, 1);
  siginfo_t info;
  memset(&info, 0, sizeof info);
  /* Not the C library's sigtimedwait, which says SI_USER for SI_TKILL. */
  CHECK_EQ(MUST(syscall(SYS_rt_sigtimedwait, &set, &info, &none, sizeof(long))), number);
  CHECK_EQ(info.si_signo, number);
  CHECK_EQ(info.si_errno, 0);
  CHECK_EQ(info.si_code, code);
  CHECK_EQ(info.si_uid, getuid());
  return info;
}

static void take_from_self(int number, int code, int value) {
  siginfo_t info = take(number, code);
  CHECK_EQ(info.si_pid, getpid());
  if (code == SI_QUEUE) CHECK_EQ(info.si_value.sival_int, value);
}

static void take_child(pid_t child) {
  siginfo_t info = take(SIGCHLD, CLD_EXITED);
  CHECK_EQ(info.si_pid, child);
  CHECK_EQ(info.si_status, 9);
  reap(child, 9);
}

static void queue(int number, int value) {
  MUST(sigqueue(getpid(), number, (union sigval){.sival_int = value}));
}

static void queue_thread(pthread_t thread, int number, int value) {
  ZERO(pthread_sigqueue(thread, number, (union sigval){.sival_int = value}));
}

static void record(int number, siginfo_t* info, void* context) {
  (void)number, (void)context;
  if (handled_count < kQueued) handled[handled_count] = info->si_value.sival_int;
  ++handled_count;
}

/* The other thread: takes only what is its own, which comes before what is the process's. */
static void* other_thread(void* argument) {
  (void)argument;
  pid_t tid = (pid_t)syscall(SYS_gettid);
  const int kOwnAndShared[] = {SIGUSR1, SIGUSR2, SIGCHLD, SIGRTMIN + 1, SIGRTMIN + 2};
  for (int round = 0;; ++round) {
    MUST(syscall(SYS_tgkill, getpid(), tid, SIGUSR2));
    pthread_barrier_wait(&turn); /* main queues */
    if (over) break;
    pthread_barrier_wait(&turn); /* all are queued and held */
    expect_pending(kOwnAndShared, 5, "other thread");
    for (int i = 0; i < kQueued; ++i) take_from_self(SIGRTMIN + 1, SI_QUEUE, 100 * round + i);
    take_from_self(SIGUSR2, SI_TKILL, 0);
    pthread_barrier_wait(&turn); /* main takes the rest */
  }
  return NULL;
}

/* Pending for the process: SIGUSR1 once, RTMIN+1 five times, RTMIN+2 by kill; and for this thread:
 * RTMIN+3 five times. */
static pid_t queue_round(int round, pthread_t other) {
  for (int i = 0; i < kQueued; ++i) {
    queue(SIGRTMIN + 1, 1000 * round + i);
    queue_thread(other, SIGRTMIN + 1, 100 * round + i);
    queue_thread(main_thread, SIGRTMIN + 3, 10 * round + i);
  }
  MUST(kill(getpid(), SIGUSR1));
  queue(SIGUSR1, 5); /* lost: an ordinary signal pends once */
  MUST(kill(getpid(), SIGRTMIN + 2));
  pid_t child = MUST(fork());
  if (child == 0) _exit(9);
  siginfo_t info;
  MUST(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT));
  return child;
}

/* The handler of RTMIN+3 has to see its five in order as soon as it is unblocked. */
static void unblock_and_check(int round) {
  const int number = SIGRTMIN + 3;
  sigset_t set = set_of(&number, 1);
  handled_count = 0;
  ZERO(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
  ZERO(pthread_sigmask(SIG_BLOCK, &set, NULL));
  CHECK_EQ(handled_count, kQueued);
  for (int i = 0; i < kQueued; ++i) CHECK_EQ(handled[i], 10 * round + i);
}

static void take_round(int round, pid_t child) {
  for (int i = 0; i < kQueued; ++i) take_from_self(SIGRTMIN + 1, SI_QUEUE, 1000 * round + i);
  take_from_self(SIGRTMIN + 2, SI_USER, 0);
  take_from_self(SIGUSR1, SI_USER, 0);
  take_child(child);
  unblock_and_check(round);
  expect_pending(NULL, 0, "main thread");
}

int main(int argc, char** argv) {
  const int kAll[] = {SIGUSR1, SIGUSR2, SIGCHLD, SIGRTMIN + 1, SIGRTMIN + 2, SIGRTMIN + 3};
  const int kMain[] = {SIGUSR1, SIGCHLD, SIGRTMIN + 1, SIGRTMIN + 2, SIGRTMIN + 3};
  sigset_t blocked = set_of(kAll, 6);
  ZERO(pthread_sigmask(SIG_BLOCK, &blocked, NULL));
  struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO};
  MUST(sigaction(SIGRTMIN + 3, &action, NULL));
  ZERO(pthread_barrier_init(&turn, NULL, 2));
  main_thread = pthread_self();
  pthread_t other;
  ZERO(pthread_create(&other, NULL, other_thread, NULL));
  long long end = end_time(argc, argv), hold_ms = (long long)option(argc, argv, "--hold-ms", 150);
  say("ready");
  for (int round = 0;; ++round) {
    over = now_ns() >= end;
    pthread_barrier_wait(&turn);
    if (over) break;
    pid_t child = queue_round(round, other);
    for (long long until = now_ns() + hold_ms * MILLISECOND; time_left(until);)
      expect_pending(kMain, 5, "main thread");
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    take_round(round, child);
  }
  ZERO(pthread_join(other, NULL));
  say("ok");
  return 0;
}
