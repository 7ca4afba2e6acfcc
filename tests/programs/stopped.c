/* Children that a signal has stopped stay stopped, in whatever call, with whatever threads; nobody
 * is told that they were let go on: no SIGCHLD, no handler of SIGCONT, no collected stop that can
 * be collected again. Then each is let go on, and finishes what it did. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "check.h"

enum { kKinds = 6 };

struct Shared {
  volatile int ready[kKinds], continued[kKinds];
  volatile long count[kKinds]; /* by threads that never wait */
};

static struct Shared* shared;
static volatile sig_atomic_t told; /* SIGCHLDs */
static int kind, pipes[kKinds][2];

static void note_child(int number) { (void)number, ++told; }
static void note_continue(int number) { (void)number, ++shared->continued[kind]; }

static void handle(int number, void (*handler)(int), int flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  MUST(sigaction(number, &action, NULL));
}

static void* spin(void* nothing) {
  for (;;) ++shared->count[kind];
  return nothing;
}

static void* read_byte(void* result) {
  char byte = 0;
  CHECK_EQ(MUST(read(pipes[kind][0], &byte, 1)), 1);
  CHECK_EQ(byte, 'x');
  return result;
}

static void ready(void) { shared->ready[kind] = 1; }

/* No handler: the read waits on. */
static void reads(void) { ready(), read_byte(NULL); }

static void pauses(void) {
  handle(SIGCONT, note_continue, 0);
  ready();
  MUST_FAIL(pause(), EINTR);
  CHECK_EQ(shared->continued[kind], 1);
}

static void computes(void) {
  handle(SIGCONT, note_continue, SA_RESTART);
  pthread_t spinning, reading;
  ZERO(pthread_create(&spinning, NULL, spin, NULL));
  ZERO(pthread_create(&reading, NULL, read_byte, NULL));
  ready();
  while (!shared->continued[kind]) usleep(1000);
  ZERO(pthread_join(reading, NULL));
  CHECK_EQ(shared->continued[kind], 1);
}

/* A relative sleep, whose rest only the kernel knows. */
static void sleeps(void) {
  struct timespec time = check_timespec(SECOND), rest;
  long long end = now_ns() + SECOND;
  ready();
  MUST(nanosleep(&time, &rest));
  CHECK(now_ns() >= end, "expected to sleep for a second, woke %lld ns before", end - now_ns());
}

/* Blocked, it stays pending; other signals that came while it was stopped are there, too. */
static void blocks(void) {
  sigset_t set, pending;
  sigemptyset(&set), sigaddset(&set, SIGCONT), sigaddset(&set, SIGUSR1);
  MUST(sigprocmask(SIG_BLOCK, &set, NULL));
  ready(), read_byte(NULL);
  MUST(sigpending(&pending));
  CHECK_EQ(sigismember(&pending, SIGCONT), 1), CHECK_EQ(sigismember(&pending, SIGUSR1), 1);
}

/* Stops itself. */
static void stops_itself(void) {
  ready();
  MUST(kill(getpid(), SIGSTOP));
  read_byte(NULL);
}

static void (*const kActs[kKinds])(void) = {reads, pauses, computes, sleeps, blocks, stops_itself};
static const int kBy[kKinds] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGSTOP, SIGTTOU, SIGSTOP};
static int is_collected(int which) { return which % 2 == 0; }

static pid_t start(int which) {
  MUST(pipe(pipes[which]));
  pid_t child = MUST(fork());
  if (child != 0) return child;
  MUST(setpgid(0, 0)); /* no orphaned group: a SIGTSTP stops it */
  kind = which;
  sigset_t none;
  sigemptyset(&none);
  MUST(sigprocmask(SIG_SETMASK, &none, NULL));
  kActs[which]();
  _exit(which);
}

static char state_of(pid_t pid) {
  char path[64], text[512] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int fd = MUST(open(path, O_RDONLY));
  MUST(read(fd, text, sizeof text - 1));
  MUST(close(fd));
  return strrchr(text, ')')[2];
}

static void stop(int which, pid_t child) {
  siginfo_t info;
  while (!shared->ready[which]) nap_ms(1);
  nap_ms(5); /* into its call */
  if (kActs[which] != stops_itself) MUST(kill(child, kBy[which]));
  MUST(waitid(P_PID, (id_t)child, &info, WSTOPPED | (is_collected(which) ? 0 : WNOWAIT)));
  CHECK_EQ(info.si_status, kBy[which]);
  if (kActs[which] == blocks) MUST(kill(child, SIGUSR1));
}

static void expect_stopped(int which, pid_t child) {
  CHECK_EQ(state_of(child), 'T');
  siginfo_t info = {.si_pid = 0};
  MUST(waitid(P_PID, (id_t)child, &info, WSTOPPED | WNOHANG | WNOWAIT));
  CHECK_EQ(info.si_pid, is_collected(which) ? 0 : child);
  if (!is_collected(which)) CHECK_EQ(info.si_status, kBy[which]);
  info.si_pid = 0;
  MUST(waitid(P_PID, (id_t)child, &info, WCONTINUED | WNOHANG | WNOWAIT));
  CHECK_EQ(info.si_pid, 0);
  CHECK_EQ(shared->continued[which], 0);
}

int main(int argc, char** argv) {
  long long end = end_time(argc, argv);
  shared =
      MUST(mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  handle(SIGCHLD, note_child, SA_RESTART);
  sigset_t sigchld;
  sigemptyset(&sigchld), sigaddset(&sigchld, SIGCHLD);
  MUST(sigprocmask(SIG_BLOCK, &sigchld, NULL)); /* not before all are stopped */
  pid_t children[kKinds];
  long counts[kKinds];
  for (int i = 0; i < kKinds; ++i) children[i] = start(i), stop(i, children[i]);
  for (int i = 0; i < kKinds; ++i) counts[i] = shared->count[i];
  MUST(sigprocmask(SIG_UNBLOCK, &sigchld, NULL));
  int seen = told;
  CHECK_EQ(seen, 1);
  say("ready");
  while (time_left(end)) {
    for (int i = 0; i < kKinds; ++i) {
      expect_stopped(i, children[i]);
      CHECK_EQ(shared->count[i], counts[i]);
    }
    CHECK_EQ(told, seen);
  }
  handle(SIGCHLD, SIG_DFL, 0);
  for (int i = 0; i < kKinds; ++i) {
    MUST(kill(children[i], SIGCONT));
    write_all(pipes[i][1], "x", 1);
    reap(children[i], i);
  }
  say("ok");
  return 0;
}
