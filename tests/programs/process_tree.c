/* A tree of processes in a session of its own: groups and sessions with and without a living
 * leader, an orphan, zombies with statuses to collect, stopped children whose stop was or was not
 * yet collected. All ids stay, nobody is woken, no SIGCHLD comes; at the end everything is
 * collected and goes on. */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "check.h"

struct Ids {
  pid_t pid, parent, group, session;
};

/* What all processes share: how many stand in their place, whether it is over, what the stopped
 * count. */
struct Shared {
  volatile int settled, over;
  volatile long counts[2];
  volatile pid_t orphan, member;
};

enum { kDeadline = 1 }; /* seconds that a process outlives the time */

static struct Shared* shared;
static long long end;

static struct Ids ids(void) { return (struct Ids){getpid(), getppid(), getpgrp(), getsid(0)}; }

static void expect_ids(struct Ids expected) {
  struct Ids seen = ids();
  CHECK(memcmp(&seen, &expected, sizeof seen) == 0,
        "expected pid %d parent %d group %d session %d, saw %d %d %d %d", expected.pid,
        expected.parent, expected.group, expected.session, seen.pid, seen.parent, seen.group,
        seen.session);
}

static int living(void) { return !shared->over && now_ns() < end + kDeadline * SECOND; }

/* Stands in its place until all is over, and collects its children. */
static void stand(struct Ids expected, pid_t child, int child_status, int status) {
  expect_ids(expected);
  __sync_fetch_and_add(&shared->settled, 1);
  while (living()) nap_ms(10), expect_ids(expected);
  if (child) reap(child, child_status);
  _exit(status);
}

static void await_settled(int count) {
  while (shared->settled < count) {
    CHECK(now_ns() < end + kDeadline * SECOND, "expected %d in their places, saw %d", count,
          shared->settled);
    nap_ms(1);
  }
}

static void await_pid(volatile pid_t* pid) {
  while (*pid == 0) {
    CHECK(now_ns() < end + kDeadline * SECOND, "expected a pid");
    nap_ms(1);
  }
}

/* A session of its own, with a group of two processes below that stand in parent order. */
static void session(pid_t top) {
  MUST(setsid());
  pid_t self = getpid(), leader = MUST(fork());
  if (leader == 0) {
    MUST(setpgid(0, 0));
    pid_t group = getpid(), below = MUST(fork());
    if (below == 0) stand((struct Ids){getpid(), group, group, self}, 0, 0, 12);
    stand((struct Ids){group, self, group, self}, below, 12, 11);
  }
  stand((struct Ids){self, top, self, self}, leader, 11, 10);
}

/* Leaves an orphan behind, whose session and group have lost their leader. */
static void orphan_maker(pid_t top) {
  MUST(setsid());
  pid_t self = getpid();
  if (MUST(fork()) == 0) {
    while (getppid() == self) nap_ms(1);
    shared->orphan = getpid();
    stand((struct Ids){getpid(), top, self, self}, 0, 0, 13);
  }
  _exit(0);
}

/* A group whose leader is gone, in the session of the top. */
static void group_maker(pid_t top, pid_t top_session) {
  MUST(setpgid(0, 0));
  pid_t self = getpid();
  if (MUST(fork()) == 0) {
    while (getppid() == self) nap_ms(1);
    shared->member = getpid();
    stand((struct Ids){getpid(), top, self, top_session}, 0, 0, 14);
  }
  _exit(0);
}

/* Counts until it is over; stopped, it does not. */
static void counter(int which, struct Ids expected) {
  expect_ids(expected);
  __sync_fetch_and_add(&shared->settled, 1);
  while (living()) nap_ms(1), ++shared->counts[which], expect_ids(expected);
  _exit(15 + which);
}

static pid_t stop_counter(int which, struct Ids top) {
  pid_t child = MUST(fork());
  if (child == 0) counter(which, (struct Ids){getpid(), top.pid, top.group, top.session});
  while (shared->counts[which] == 0) nap_ms(1);
  MUST(kill(child, SIGSTOP));
  siginfo_t info;
  MUST(waitid(P_PID, (id_t)child, &info, WSTOPPED | (which == 0 ? WNOWAIT : 0)));
  return child;
}

static void expect_stopped(pid_t child, int which, long count) {
  char path[64], text[512] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", (int)child);
  int fd = MUST(open(path, O_RDONLY));
  MUST(read(fd, text, sizeof text - 1));
  MUST(close(fd));
  char state = strrchr(text, ')')[2];
  CHECK(state == 'T', "stopped child: expected state T, saw %c", state);
  CHECK_EQ(shared->counts[which], count);
  siginfo_t info = {.si_pid = 0};
  MUST(waitid(P_PID, (id_t)child, &info, WSTOPPED | WNOHANG | WNOWAIT));
  if (which == 1) CHECK_EQ(info.si_pid, 0); /* was collected */
  if (which == 0) CHECK_EQ(info.si_pid, child), CHECK_EQ(info.si_code, CLD_STOPPED);
}

static void expect_zombie(pid_t child, int code, int status) {
  siginfo_t info = {.si_pid = 0};
  MUST(waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT));
  CHECK_EQ(info.si_pid, child), CHECK_EQ(info.si_code, code), CHECK_EQ(info.si_status, status);
}

static void expect_no_sigchld(void) {
  sigset_t pending;
  MUST(sigpending(&pending));
  CHECK(!sigismember(&pending, SIGCHLD), "expected no SIGCHLD, saw one: a child ended or stopped");
}

static void resume(pid_t child, int which) {
  long before = shared->counts[which];
  MUST(kill(child, SIGCONT));
  while (shared->counts[which] < before + 3) expect_alive(child), nap_ms(1);
}

static void top(void) {
  struct Ids self = {MUST(setsid()), getppid(), getpgrp(), getsid(0)};
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
  sigset_t sigchld;
  sigemptyset(&sigchld), sigaddset(&sigchld, SIGCHLD);
  MUST(sigprocmask(SIG_BLOCK, &sigchld, NULL));

  pid_t maker = MUST(fork());
  if (maker == 0) orphan_maker(self.pid);
  reap(maker, 0);
  pid_t leader = MUST(fork());
  if (leader == 0) group_maker(self.pid, self.session);
  reap(leader, 0);
  await_pid(&shared->orphan), await_pid(&shared->member);
  pid_t other = MUST(fork());
  if (other == 0) session(self.pid);
  pid_t exited = MUST(fork());
  if (exited == 0) _exit(7);
  pid_t killed = MUST(fork());
  if (killed == 0)
    for (;;) pause();
  MUST(kill(killed, SIGKILL));
  pid_t stopped[2] = {stop_counter(0, self), stop_counter(1, self)};
  long counts[2] = {shared->counts[0], shared->counts[1]};
  siginfo_t info;
  MUST(waitid(P_PID, (id_t)exited, &info, WEXITED | WNOWAIT));
  MUST(waitid(P_PID, (id_t)killed, &info, WEXITED | WNOWAIT));
  await_settled(7);
  const struct timespec none = {0, 0};
  CHECK_EQ(MUST(sigtimedwait(&sigchld, &info, &none)), SIGCHLD);
  say("ready");

  while (time_left(end)) {
    expect_ids(self);
    expect_zombie(exited, CLD_EXITED, 7), expect_zombie(killed, CLD_KILLED, SIGKILL);
    for (int i = 0; i < 2; ++i) expect_stopped(stopped[i], i, counts[i]);
    CHECK_EQ(MUST(getsid(shared->orphan)), maker), CHECK_EQ(MUST(getpgid(shared->orphan)), maker);
    CHECK_EQ(MUST(getpgid(shared->member)), leader),
        CHECK_EQ(MUST(getsid(shared->member)), self.session);
    CHECK_EQ(MUST(getsid(other)), other), CHECK_EQ(MUST(getpgid(stopped[0])), self.group);
    expect_no_sigchld();
  }
  for (int i = 0; i < 2; ++i) resume(stopped[i], i);
  shared->over = 1;
  int status = 0;
  CHECK_EQ(MUST(waitpid(killed, &status, 0)), killed);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "expected SIGKILL, saw %#x",
        (unsigned)status);
  reap(exited, 7), reap(other, 10), reap(shared->orphan, 13), reap(shared->member, 14);
  for (int i = 0; i < 2; ++i) reap(stopped[i], 15 + i);
  MUST_FAIL(waitpid(-1, NULL, 0), ECHILD);
  _exit(0);
}

int main(int argc, char** argv) {
  end = end_time(argc, argv);
  shared =
      MUST(mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pid_t child = MUST(fork());
  if (child == 0) top();
  reap(child, 0);
  say("ok");
  return 0;
}
