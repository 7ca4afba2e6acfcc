/* CLOCK_MONOTONIC (exact, coarse, raw) and CLOCK_BOOTTIME go on from where they stood: never back,
 * never ahead by more than --max-jump seconds (1) beyond the sleep between two looks, by the vdso
 * and by the system call, and in step with each other. /proc/uptime agrees, unless --uptime is 0.
 * What is executed (--told) sees the same clocks. */
#include <pthread.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "snapshot.h"

static const struct {
  const char* name;
  clockid_t clock;
} kClocks[] = {{"CLOCK_MONOTONIC", CLOCK_MONOTONIC},
               {"CLOCK_MONOTONIC_COARSE", CLOCK_MONOTONIC_COARSE},
               {"CLOCK_MONOTONIC_RAW", CLOCK_MONOTONIC_RAW},
               {"CLOCK_BOOTTIME", CLOCK_BOOTTIME}};
enum { kCount = sizeof kClocks / sizeof kClocks[0], kViews = 2 * kCount };

static long long end, max_jump;

/* View i is clock i by the vdso, view kCount + i by the system call. */
static long long look(int view) {
  struct timespec time;
  clockid_t clock = kClocks[view % kCount].clock;
  if (view < kCount)
    MUST(clock_gettime(clock, &time));
  else
    MUST(syscall(SYS_clock_gettime, clock, &time));
  return time.tv_sec * SECOND + time.tv_nsec;
}

/* Coarse clocks stand for up to 10 ms, and then lie behind the exact ones. */
static long long check_step(int view, long long before) {
  long long now = look(view);
  CHECK(now >= before, "%s went back by %.6f s", kClocks[view % kCount].name,
        (double)(before - now) / 1e9);
  CHECK(now - before <= max_jump, "%s jumped ahead by %.3f s", kClocks[view % kCount].name,
        (double)(now - before) / 1e9);
  return now;
}

/* All are looked at in turn, and by turns: a jump of one against another is seen at once. */
static void check_together(void) {
  for (int clock = 0; clock < kCount; ++clock) {
    long long by_vdso = look(clock), by_call = look(kCount + clock);
    CHECK(by_call >= by_vdso && by_call - by_vdso <= max_jump,
          "%s: expected %lld ns or a little more by call, saw %lld", kClocks[clock].name, by_vdso,
          by_call);
  }
}

/* What this one has seen is past for an executed one too, and not long ago. */
static int is_told(const char* text) {
  for (int clock = 0; clock < kCount; ++clock) {
    long long told = strtoll(text, (char**)&text, 10);
    for (int view = clock; view < kViews; view += kCount) {
      long long now = look(view);
      CHECK(now >= told && now - told <= max_jump, "%s: told %lld ns, saw %lld after exec",
            kClocks[clock].name, told, now);
    }
  }
  return 0;
}

static void check_executed(char* program) {
  char text[256], jump[32];
  snprintf(jump, sizeof jump, "%.3f", (double)max_jump / 1e9);
  snprintf(text, sizeof text, "%lld %lld %lld %lld", look(0), look(1), look(2), look(3));
  char* const words[] = {program, "--told", text, "--max-jump", jump, NULL};
  pid_t child;
  int status;
  ZERO(posix_spawn(&child, "/proc/self/exe", NULL, NULL, words, environ));
  MUST(waitpid(child, &status, 0));
  CHECK(status == 0, "expected the executed program to end well, saw status %#x", status);
}

static void check_uptime(void) {
  double uptime = strtod(read_text("/proc/uptime", NULL), NULL),
         boot = (double)look(kCount - 1) / 1e9;
  CHECK(uptime <= boot + 0.02 && boot - uptime <= (double)max_jump / 1e9,
        "expected an uptime of %.2f, saw %.2f", boot, uptime);
}

/* Without a sleep: catches a step that is made up for within a millisecond. */
static void* look_without_pause(void* argument) {
  long long last[kViews];
  for (int i = 0; i < kViews; ++i) last[i] = look(i);
  while (last[0] < end)
    for (int i = 0; i < kViews; ++i) last[i] = check_step(i, last[i]);
  return argument;
}

int main(int argc, char** argv) {
  pthread_t thread;
  max_jump = (long long)(option(argc, argv, "--max-jump", 1) * (double)SECOND);
  const char* told = text_option(argc, argv, "--told", NULL);
  if (told) return is_told(told);
  int with_uptime = option(argc, argv, "--uptime", 1) != 0;
  end = end_time(argc, argv);
  long long executed = 0, begun = now_ns(), last[kViews], offset = look(kCount - 1) - look(0);
  for (int i = 0; i < kViews; ++i) last[i] = look(i);
  ZERO(pthread_create(&thread, NULL, look_without_pause, NULL));
  say("ready");
  while (time_left(end)) {
    for (int i = 0; i < kViews; ++i) last[i] = check_step(i, last[i]);
    check_together();
    if (with_uptime) check_uptime();
    if (look(0) - executed > SECOND / 10) check_executed(argv[0]), executed = look(0);
    long long now_offset = look(kCount - 1) - look(0);
    CHECK(llabs(now_offset - offset) <= max_jump,
          "expected BOOTTIME %lld ns before MONOTONIC, saw %lld", offset, now_offset);
  }
  ZERO(pthread_join(thread, NULL));
  CHECK(now_ns() - begun >= end - begun, "expected the whole time to pass");
  say("ok");
  return 0;
}
