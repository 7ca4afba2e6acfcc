/* Whatever a program can do to the signals and descriptors of somebody who stops it by a signal:
 * threads ignore, reset and handle all 64, block all of them, and close descriptors 0 to 1023, all
 * the time; and each sees exactly what it has set. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "check.h"

enum { kSignals = 64, kThreads = 3, kDescriptors = 1024 };

/* struct sigaction of the kernel: the C library hides its own two signals. */
struct raw_action {
  void* handler;
  unsigned long flags;
  void* restorer;
  uint64_t mask;
};

static const uint64_t kUnblockable = 1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1);
static long long end;
static const char* stop_file;
static int output;

/* A torpor test ends it before its time. */
static int goes_on(void) {
  return time_left(end) && (stop_file == NULL || access(stop_file, F_OK) != 0);
}

static void handler(int number) { CHECK(0, "signal %d came", number); }

static void set_and_check(int number, struct raw_action action) {
  struct raw_action seen;
  MUST(syscall(SYS_rt_sigaction, number, &action, NULL, sizeof(uint64_t)));
  MUST(syscall(SYS_rt_sigaction, number, NULL, &seen, sizeof(uint64_t)));
  CHECK(seen.handler == action.handler, "handler of signal %d: expected %p, saw %p", number,
        action.handler, seen.handler);
  CHECK(seen.flags == action.flags, "flags of signal %d: expected %#lx, saw %#lx", number,
        action.flags, seen.flags);
  CHECK(seen.mask == (action.mask & ~kUnblockable), "mask of signal %d: expected %#llx, saw %#llx",
        number, (unsigned long long)(action.mask & ~kUnblockable), (unsigned long long)seen.mask);
}

static int is_ours_to_set(int number) { return number != SIGKILL && number != SIGSTOP; }

/* With the restorer of the C library, without which a handler cannot return. */
static struct raw_action handled_action(void) {
  struct raw_action action;
  struct sigaction probe = {.sa_handler = handler};
  MUST(sigaction(SIGUSR1, &probe, NULL));
  MUST(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &action, sizeof(uint64_t)));
  return action;
}

static void change_actions(void) {
  const struct raw_action handled = handled_action();
  do {
    for (int kind = 0; kind < 3; ++kind)
      for (int number = 1; number <= kSignals; ++number) {
        if (!is_ours_to_set(number)) continue;
        struct raw_action action = {.handler = kind == 0 ? (void*)SIG_IGN : (void*)SIG_DFL};
        if (kind == 2) action = handled;
        if (kind == 2) action.mask = ~0ULL >> (number % 3 * 16);
        set_and_check(number, action);
      }
  } while (goes_on());
}

static void* block_all(void* argument) {
  const uint64_t sets[] = {~0ULL, 0x5555555555555555ULL, ~0ULL};
  for (int i = (int)(intptr_t)argument; goes_on(); i = (i + 1) % 3) {
    uint64_t seen = 0;
    MUST(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &sets[i], NULL, sizeof seen));
    for (int look = 0; look < 200; ++look) {
      MUST(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &seen, sizeof seen));
      CHECK(seen == (sets[i] & ~kUnblockable), "mask: expected %#llx, saw %#llx",
            (unsigned long long)(sets[i] & ~kUnblockable), (unsigned long long)seen);
    }
  }
  return NULL;
}

static void* close_all(void* unused) {
  const uint64_t all = ~0ULL;
  MUST(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all));
  while (goes_on())
    for (int fd = 0; fd < kDescriptors; ++fd) CHECK(close(fd) == -1, "descriptor %d was open", fd);
  return unused;
}

/* Standard output and error go where nobody closes them. */
static void move_away(void) {
  struct rlimit limit;
  MUST(getrlimit(RLIMIT_NOFILE, &limit));
  limit.rlim_cur = 2 * kDescriptors;
  MUST(setrlimit(RLIMIT_NOFILE, &limit));
  check_errors = MUST(fcntl(2, F_DUPFD, kDescriptors));
  output = MUST(fcntl(1, F_DUPFD, kDescriptors));
  for (int fd = 0; fd < kDescriptors; ++fd) close(fd);
}

int main(int argc, char** argv) {
  pthread_t threads[kThreads];
  const uint64_t all = ~0ULL;
  end = end_time(argc, argv);
  stop_file = text_option(argc, argv, "--stop-file", NULL);
  move_away();
  MUST(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all));
  for (intptr_t i = 0; i < kThreads; ++i)
    ZERO(pthread_create(&threads[i], NULL, i == 2 ? close_all : block_all, (void*)i));
  MUST(dprintf(output, "ready\n"));
  change_actions();
  for (int i = 0; i < kThreads; ++i) ZERO(pthread_join(threads[i], NULL));
  MUST(dprintf(output, "ok\n"));
  return 0;
}
