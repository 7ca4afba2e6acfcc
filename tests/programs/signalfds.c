/* Signal descriptors: two with different masks, signals pending behind them for --hold-ms (100)
 * with all that they tell, one that blocks in a thread. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "check.h"

enum { kQueued = 4 };

static int first_number, second_number, blocking_number;

static int make(int a, int b, int flags) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, a), sigaddset(&set, b);
  return MUST(signalfd(-1, &set, flags));
}

static int readable(int fd) {
  struct pollfd it = {.fd = fd, .events = POLLIN};
  return MUST(poll(&it, 1, 0));
}

static void queue(int number, int value) {
  MUST(sigqueue(getpid(), number, (union sigval){.sival_int = value}));
}

static void take(int fd, int number, int code, int value) {
  struct signalfd_siginfo info;
  read_all(fd, &info, sizeof info);
  CHECK_EQ(info.ssi_signo, number);
  CHECK_EQ(info.ssi_code, code);
  CHECK_EQ(info.ssi_pid, getpid());
  CHECK_EQ(info.ssi_uid, getuid());
  if (code == SI_QUEUE) CHECK_EQ(info.ssi_int, value);
}

static void expect_mask(int fd, const char* expected) {
  char path[64], text[512] = "";
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  int info = MUST(open(path, O_RDONLY));
  MUST(read(info, text, sizeof text - 1));
  MUST(close(info));
  char* line = strstr(text, "sigmask:");
  CHECK(line && strncmp(line, expected, strlen(expected)) == 0, "expected %s in %s", expected,
        text);
}

/* Blocks in read until the next signal; one with value -1 ends it. */
static void* read_signals(void* argument) {
  int fd = *(int*)argument;
  for (int expected = 0;; ++expected) {
    struct signalfd_siginfo info;
    read_all(fd, &info, sizeof info);
    CHECK_EQ(info.ssi_signo, blocking_number);
    if (info.ssi_int == -1) return NULL;
    CHECK_EQ(info.ssi_int, expected);
  }
}

int main(int argc, char** argv) {
  long long hold_ms = (long long)option(argc, argv, "--hold-ms", 100), end = end_time(argc, argv);
  first_number = SIGRTMIN + 4, second_number = SIGRTMIN + 5, blocking_number = SIGRTMIN + 6;
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1), sigaddset(&blocked, SIGUSR2), sigaddset(&blocked, first_number);
  sigaddset(&blocked, second_number), sigaddset(&blocked, blocking_number);
  ZERO(pthread_sigmask(SIG_BLOCK, &blocked, NULL));
  int first = make(SIGUSR1, first_number, SFD_NONBLOCK | SFD_CLOEXEC);
  int second = make(second_number, SIGUSR2, SFD_NONBLOCK);
  int blocking = make(blocking_number, blocking_number, 0);
  char first_mask[64], second_mask[64];
  snprintf(first_mask, sizeof first_mask, "sigmask:\t%016llx",
           1ull << 9 | 1ull << (first_number - 1));
  snprintf(second_mask, sizeof second_mask, "sigmask:\t%016llx",
           1ull << 11 | 1ull << (second_number - 1));
  pthread_t thread;
  ZERO(pthread_create(&thread, NULL, read_signals, &blocking));
  say("ready");
  for (int round = 0; now_ns() < end; ++round) {
    for (int i = 0; i < kQueued; ++i)
      queue(first_number, round + i), queue(second_number, -round - i);
    MUST(kill(getpid(), SIGUSR1));
    queue(SIGUSR2, 1234 + round);
    for (long long until = now_ns() + hold_ms * MILLISECOND; time_left(until);) {
      CHECK_EQ(readable(first), 1), CHECK_EQ(readable(second), 1);
      expect_mask(first, first_mask), expect_mask(second, second_mask);
      CHECK_EQ(MUST(fcntl(first, F_GETFL)), O_RDWR | O_NONBLOCK);
      CHECK_EQ(MUST(fcntl(first, F_GETFD)), FD_CLOEXEC);
    }
    take(first, SIGUSR1, SI_USER, 0), take(second, SIGUSR2, SI_QUEUE, 1234 + round);
    for (int i = 0; i < kQueued; ++i) {
      take(first, first_number, SI_QUEUE, round + i);
      take(second, second_number, SI_QUEUE, -round - i);
    }
    CHECK_EQ(readable(first), 0), CHECK_EQ(readable(second), 0);
    queue(blocking_number, round);
  }
  queue(blocking_number, -1);
  ZERO(pthread_join(thread, NULL));
  say("ok");
  return 0;
}
