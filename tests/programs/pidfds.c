/* Process descriptors: of a child that lives, of one that has ended and waits to be collected, of
 * one that was collected, of ourselves, and in a child one of its parent. What they say, poll and
 * can be used for stays the same. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

#include "check.h"

enum { kPidfd = 3 }; /* P_PIDFD of waitid */

static volatile sig_atomic_t signals;

static void count_signal(int number) {
  (void)number;
  ++signals;
}

static int open_pid(pid_t pid, unsigned flags) {
  return (int)MUST(syscall(SYS_pidfd_open, pid, flags));
}

static long send_signal(int fd, int number) {
  return syscall(SYS_pidfd_send_signal, fd, number, NULL, 0);
}

static int readable(int fd) {
  struct pollfd it = {.fd = fd, .events = POLLIN};
  return MUST(poll(&it, 1, 0));
}

/* The line "Pid:" of its fdinfo: -1 if it was collected. */
static long told_pid(int fd) {
  char path[64], text[1024] = "";
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  int info = MUST(open(path, O_RDONLY | O_CLOEXEC));
  MUST(read(info, text, sizeof text - 1));
  MUST(close(info));
  const char* line = strstr(text, "\nPid:");
  CHECK(line != NULL, "expected a line Pid:, saw %s", text);
  return strtol(line + 5, NULL, 10);
}

static pid_t end_at_once(int status) {
  pid_t child = MUST(fork());
  if (child == 0) _exit(status);
  siginfo_t info;
  MUST(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT));
  return child;
}

/* Signals its parent for every byte, and ends with the pipe. */
static void child(int parent, int from) {
  char byte;
  while (MUST(read(from, &byte, 1)) == 1) MUST(send_signal(parent, SIGUSR1));
  CHECK_EQ(readable(parent), 0);
  _exit(5);
}

static void expect_living(int fd, pid_t pid) {
  CHECK_EQ(readable(fd), 0);
  CHECK_EQ(told_pid(fd), pid);
  MUST(send_signal(fd, 0));
}

static void expect_ended(int fd, pid_t pid, int status) {
  siginfo_t info = {.si_pid = 0};
  CHECK_EQ(readable(fd), 1);
  MUST(waitid((idtype_t)kPidfd, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT));
  CHECK_EQ(info.si_pid, pid), CHECK_EQ(info.si_status, status);
}

static void expect_collected(int fd) {
  siginfo_t info;
  CHECK_EQ(readable(fd), 1);
  CHECK_EQ(told_pid(fd), -1);
  MUST_FAIL(send_signal(fd, 0), ESRCH);
  MUST_FAIL(waitid((idtype_t)kPidfd, (id_t)fd, &info, WEXITED | WNOHANG), ECHILD);
}

int main(int argc, char** argv) {
  long long end = end_time(argc, argv);
  struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
  MUST(sigaction(SIGUSR1, &action, NULL));
  int self = open_pid(getpid(), 0), to_child[2];
  MUST(pipe(to_child));
  pid_t living = MUST(fork());
  if (living == 0) {
    MUST(close(to_child[1]));
    child(self, to_child[0]);
  }
  MUST(close(to_child[0]));
  pid_t ended = end_at_once(7), collected = end_at_once(8);
  int of_living = open_pid(living, O_NONBLOCK), of_ended = open_pid(ended, 0),
      of_collected = open_pid(collected, 0);
  reap(collected, 8);
  say("ready");
  while (time_left(end)) {
    expect_living(self, getpid());
    expect_living(of_living, living);
    expect_ended(of_ended, ended, 7);
    expect_collected(of_collected);
    siginfo_t info;
    MUST_FAIL(waitid((idtype_t)kPidfd, (id_t)of_living, &info, WEXITED), EAGAIN);
    CHECK_EQ(MUST(fcntl(of_living, F_GETFL)) & O_NONBLOCK, O_NONBLOCK);
    sigset_t usr1, before;
    sigemptyset(&usr1), sigaddset(&usr1, SIGUSR1);
    MUST(sigprocmask(SIG_BLOCK, &usr1, &before));
    write_all(to_child[1], "s", 1);
    int number = 0;
    ZERO(sigwait(&usr1, &number));
    MUST(sigprocmask(SIG_SETMASK, &before, NULL));
    CHECK_EQ(signals, 0); /* each was waited for */
  }
  MUST(close(to_child[1]));
  siginfo_t info;
  struct pollfd it = {.fd = of_living, .events = POLLIN};
  CHECK_EQ(MUST(poll(&it, 1, -1)), 1);
  MUST(waitid((idtype_t)kPidfd, (id_t)of_living, &info, WEXITED));
  CHECK_EQ(info.si_pid, living), CHECK_EQ(info.si_status, 5);
  expect_collected(of_living);
  reap(ended, 7);
  say("ok");
  return 0;
}
