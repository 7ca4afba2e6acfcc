/* A program that never leaves its tree of processes alone: what the fault tests save while it
 * changes.
 *
 * restless MODE [STEP HASH]: the main process and two workers do the same thing over and over, as
 * fast as they can, and check each time that it went as it should. fork    a child that ends with a
 * status exec    a child that executes this program, which ends with a status spawn   a thread that
 * returns a value kill    a child that waits, and is killed become  the main process alone:
 * executes this program in its own place, step and hash as arguments The main process prints what
 * steady does: "ready PID", "step N HASH", at SIGTERM "ok N". */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../programs/check.h"

enum { kWorkers = 2, kStatus = 7, kTimesPerStep = 10 };

static volatile sig_atomic_t is_to_end;
static char* program;

static void note_end(int number) {
  (void)number;
  is_to_end = 1;
}

static uint64_t next_hash(uint64_t hash, uint64_t step) {
  return (hash ^ step) * 6364136223846793005ull + 1442695040888963407ull;
}

/* Only SIGTERM may interrupt. */
static int status_of(pid_t child) {
  int status = 0;
  pid_t seen;
  do {
    seen = waitpid(child, &status, 0);
  } while (seen < 0 && errno == EINTR && is_to_end);
  CHECK_EQ(seen, child);
  return status;
}

static void fork_once(void) {
  const pid_t child = MUST(fork());
  if (child == 0) _exit(kStatus);
  CHECK_EQ(WEXITSTATUS(status_of(child)), kStatus);
}

static void exec_once(void) {
  const pid_t child = MUST(fork());
  if (child == 0) {
    execl(program, program, "end", (char*)NULL);
    _exit(1);
  }
  CHECK_EQ(WEXITSTATUS(status_of(child)), kStatus);
}

static void kill_once(void) {
  const pid_t parent = getpid(), child = MUST(fork());
  if (child == 0) {
    MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    while (getppid() == parent) pause();
    _exit(0);
  }
  MUST(kill(child, SIGKILL));
  const int status = status_of(child);
  CHECK_EQ(WIFSIGNALED(status) ? WTERMSIG(status) : -1, SIGKILL);
}

static void* give_back(void* argument) { return argument; }

static void spawn_once(void) {
  pthread_t thread;
  void *result = NULL, *value = &result;
  ZERO(pthread_create(&thread, NULL, give_back, value));
  ZERO(pthread_join(thread, &result));
  CHECK(result == value, "expected %p, saw %p", value, result);
}

struct Mode {
  const char* name;
  void (*once)(void);
};

static const struct Mode modes[] = {
    {"fork", fork_once}, {"exec", exec_once}, {"kill", kill_once}, {"spawn", spawn_once}};

static void tell(const char* format, uint64_t step, uint64_t hash) {
  char line[80];
  const int size =
      snprintf(line, sizeof line, format, (unsigned long long)step, (unsigned long long)hash);
  ssize_t put;
  do {
    put = write(1, line, (size_t)size);
  } while (put < 0 && errno == EINTR && is_to_end);
  CHECK_EQ(put, size);
}

static void work_until_killed(const struct Mode* mode) {
  signal(SIGTERM, SIG_IGN);
  MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
  for (;;) mode->once();
}

static uint64_t go_on(const struct Mode* mode) {
  uint64_t hash = 0, step = 0;
  for (; !is_to_end; ++step) {
    for (int i = 0; i < kTimesPerStep; ++i) mode->once();
    hash = next_hash(hash, step);
    tell("step %llu %016llx\n", step, hash);
  }
  return step;
}

static void run(const struct Mode* mode) {
  pid_t workers[kWorkers];
  for (int i = 0; i < kWorkers; ++i) {
    workers[i] = MUST(fork());
    if (workers[i] == 0) work_until_killed(mode);
  }
  tell("ready %llu\n", (uint64_t)getpid(), 0);
  const uint64_t step = go_on(mode);
  for (int i = 0; i < kWorkers; ++i) {
    MUST(kill(workers[i], SIGKILL));
    status_of(workers[i]);
  }
  tell("ok %llu\n", step, 0);
}

/* SIGTERM stays blocked across the exec, so that it meets the handler. */
static void become(int argc, char** argv) {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  uint64_t step = argc > 3 ? strtoull(argv[2], NULL, 10) : 0;
  uint64_t hash = argc > 3 ? strtoull(argv[3], NULL, 16) : 0;
  if (step == 0) tell("ready %llu\n", (uint64_t)getpid(), 0);
  hash = next_hash(hash, step);
  tell("step %llu %016llx\n", step++, hash);
  ZERO(sigprocmask(SIG_UNBLOCK, &term, NULL));
  ZERO(sigprocmask(SIG_BLOCK, &term, NULL));
  if (is_to_end) {
    tell("ok %llu\n", step, 0);
    exit(0);
  }
  char steps[24], hashes[24];
  snprintf(steps, sizeof steps, "%llu", (unsigned long long)step);
  snprintf(hashes, sizeof hashes, "%llx", (unsigned long long)hash);
  execl(program, program, "become", steps, hashes, (char*)NULL);
  CHECK(0, "cannot execute: %s", strerror(errno));
}

int main(int argc, char** argv) {
  const struct sigaction action = {.sa_handler = note_end};
  CHECK(argc > 1, "usage: restless MODE");
  program = argv[0];
  if (strcmp(argv[1], "end") == 0) return kStatus;
  MUST(sigaction(SIGTERM, &action, NULL));
  if (strcmp(argv[1], "become") == 0) become(argc, argv);
  for (size_t i = 0; i < sizeof modes / sizeof *modes; ++i) {
    if (strcmp(argv[1], modes[i].name) != 0) continue;
    run(&modes[i]);
    return 0;
  }
  CHECK(0, "there is no mode %s", argv[1]);
}
