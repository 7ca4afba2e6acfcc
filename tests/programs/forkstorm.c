/* A tree of processes that forks, execs and reaps without pause on several levels: at no moment is
 * the list of processes stable. --width processes at each of --depth levels; the leaves exec.
 * It ends after --seconds, or as soon as the file --stop-file exists. */
#include "check.h"

static void exec_leaf(int status) {
  char command[32];
  snprintf(command, sizeof command, "exit %d", status);
  if (status == 0)
    execl("/bin/true", "true", (char*)NULL);
  else
    execl("/bin/sh", "sh", "-c", command, (char*)NULL);
  CHECK(0, "expected exec to succeed, saw %s", strerror(errno));
}

/* What a subtree has to exit with. Siblings differ, and none has the 1 of a failed check. */
static int status_of(unsigned number) { return (int)(number % 5 == 0 ? 0 : 2 + number % 250); }

/* Forks one generation of `width` children under `number`, then reaps them in any order. */
static void storm(unsigned number, int depth, int width) {
  pid_t children[64];
  for (int i = 0; i < width; ++i) {
    unsigned child = number * 7 + (unsigned)i + 1;
    children[i] = MUST(fork());
    if (children[i] > 0) continue;
    if (depth == 0) exec_leaf(status_of(child));
    storm(child, depth - 1, width);
    _exit(status_of(child));
  }
  for (int reaped = 0; reaped < width; ++reaped) {
    int status = 0, i = 0;
    pid_t child = MUST(waitpid(-1, &status, 0));
    while (i < width && children[i] != child) ++i;
    CHECK(i < width, "expected one of %d children, saw %d", width, (int)child);
    int expected = status_of(number * 7 + (unsigned)i + 1);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == expected,
          "child %d: expected exit status %d, saw wait status %#x", (int)child, expected,
          (unsigned)status);
    children[i] = 0;
  }
  MUST_FAIL(waitpid(-1, NULL, 0), ECHILD);
}

int main(int argc, char** argv) {
  const int width = (int)option(argc, argv, "--width", 3);
  const int depth = (int)option(argc, argv, "--depth", 2);
  CHECK(width >= 1 && width <= 64 && depth >= 0 && depth <= 8, "expected sane --width and --depth");
  const long long end = end_time(argc, argv);
  const char* stop_file = text_option(argc, argv, "--stop-file", "");
  say("ready");
  for (unsigned round = 0; now_ns() < end && access(stop_file, F_OK) != 0; ++round)
    storm(round, depth, width);
  say("ok");
  return 0;
}
