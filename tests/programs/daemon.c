/* A daemon: forked twice, in a session whose leader is gone, its parent gone too, so that it
 * belongs to whoever collects orphans here. The program waits for it by the end of a pipe alone. */
#include <fcntl.h>
#include <sys/stat.h>

#include "check.h"

static void be_daemon(pid_t session, int report, long long end) {
  pid_t self = getpid();
  MUST(chdir("/"));
  umask(0);
  int null = MUST(open("/dev/null", O_RDWR));
  for (int fd = 0; fd < 2; ++fd) MUST(dup2(null, fd));
  write_all(report, "r", 1);
  while (time_left(end)) {
    CHECK_EQ(getpid(), self);
    CHECK_EQ(getsid(0), session), CHECK_EQ(getpgrp(), session);
    CHECK(getppid() != session, "expected to be an orphan");
    MUST_FAIL(setpgid(0, getpid() + 1), EPERM); /* no such group in this session */
  }
  write_all(report, "e", 1);
  _exit(0);
}

static void fork_daemon(int report, long long end) {
  pid_t session = MUST(setsid());
  if (MUST(fork()) > 0) _exit(0);
  while (getppid() == session) nap_ms(1);
  be_daemon(session, report, end);
}

int main(int argc, char** argv) {
  int report[2];
  char byte = 0;
  long long end = end_time(argc, argv);
  MUST(pipe(report));
  pid_t middle = MUST(fork());
  if (middle == 0) fork_daemon(report[1], end);
  MUST(close(report[1]));
  reap(middle, 0);
  read_all(report[0], &byte, 1);
  CHECK_EQ(byte, 'r');
  say("ready");
  read_all(report[0], &byte, 1);
  CHECK_EQ(byte, 'e');
  CHECK_EQ(MUST(read(report[0], &byte, 1)), 0);
  MUST_FAIL(waitpid(-1, NULL, 0), ECHILD);
  say("ok");
  return 0;
}
