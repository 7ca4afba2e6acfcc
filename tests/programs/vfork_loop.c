/* vfork + exec and posix_spawn in a loop. A vfork child that has not yet exec'ed shares the
 * parent's memory, and the parent's thread sits in an uninterruptible wait. */
#include <fcntl.h>
#include <spawn.h>

#include "check.h"

extern char** environ;

static char* const kTrue[] = {(char*)"true", NULL};
static char* const kExit7[] = {(char*)"sh", (char*)"-c", (char*)"exit 7", NULL};

static void vfork_and_exec(const char* path, char* const* arguments, int status) {
  volatile int written_by_child = 0;
  pid_t child = vfork();
  if (child == 0) {
    written_by_child = 42;
    execv(path, arguments);
    _exit(127);
  }
  CHECK(child > 0, "expected a child, saw %s", strerror(errno));
  CHECK_EQ(written_by_child, 42);
  reap(child, status);
}

static void spawn(const char* path, char* const* arguments, int status) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ZERO(posix_spawn_file_actions_init(&actions));
  ZERO(posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0));
  ZERO(posix_spawnattr_init(&attributes));
  ZERO(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP));
  pid_t child = 0;
  ZERO(posix_spawn(&child, path, &actions, &attributes, arguments, environ));
  CHECK_EQ(MUST(getpgid(child)), child);
  reap(child, status);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
}

int main(int argc, char** argv) {
  const long long end = end_time(argc, argv);
  say("ready");
  while (now_ns() < end) {
    vfork_and_exec("/bin/true", kTrue, 0);
    vfork_and_exec("/nonexistent", kTrue, 127);
    spawn("/bin/true", kTrue, 0);
    spawn("/bin/sh", kExit7, 7);
    MUST_FAIL(waitpid(-1, NULL, WNOHANG), ECHILD);
  }
  say("ok");
  return 0;
}
