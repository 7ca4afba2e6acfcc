/* Threads that sit in every blocking call with a time limit or a waker: the result has to be that
 * of an undisturbed call (never EINTR), and come at the expected time, within --tolerance-ms (50)
 * and twice of what a mere sleep was late at worst. Every call blocks for --block-ms (250) and
 * --step-ms (a twentieth of that) more for each case; with --seconds 0 there is one call of each.
 */
#include "blocked_calls.h"

#include <signal.h>

#include "check.h"

static long long end, tolerance;
static pthread_barrier_t started;

static void ignore_signal(int number) { (void)number; }

static void* wake_at_deadline(void* argument) {
  struct Case* it = argument;
  for (;;) {
    MUST(sem_wait(&it->begin));
    if (it->over) return NULL;
    sleep_until(it->deadline);
    it->wake(it);
  }
}

/* A thread that only sleeps until the next moment: how late that was at worst is how late anything
 * may be, because the machine is busy or the whole program was stopped. */
static volatile long long worst_delay;
static volatile int all_over;

static void* measure_delays(void* argument) {
  for (long long next = now_ns(); !all_over;) {
    next += 5 * MILLISECOND;
    sleep_until(next);
    long long delay = now_ns() - next;
    if (delay > worst_delay) worst_delay = delay;
    if (delay > 5 * MILLISECOND) next = now_ns();
  }
  return argument;
}

static void one_call(struct Case* it) {
  it->deadline = now_ns() + it->duration;
  if (it->wake) MUST(sem_post(&it->begin));
  it->call(it);
  long long late = now_ns() - it->deadline;
  if (late > tolerance) nap_ms(100); /* the other thread was as late, and says so now */
  CHECK((it->may_be_early || late >= -tolerance) &&
            (it->may_be_late || late <= tolerance + 2 * worst_delay),
        "%s of %lld ms: expected on time, saw %.3f ms %s; a sleep was late by %.3f ms at worst",
        it->name, it->duration / MILLISECOND, (double)llabs(late) / 1e6,
        late < 0 ? "early" : "late", (double)worst_delay / 1e6);
}

static void* block(void* argument) {
  struct Case* it = argument;
  pthread_barrier_wait(&started);
  do one_call(it);
  while (now_ns() + it->duration < end);
  it->over = 1;
  if (it->wake) MUST(sem_post(&it->begin));
  return NULL;
}

static void start(struct Case* it) {
  MUST(sem_init(&it->begin, 0, 0));
  if (it->set_up) it->set_up(it);
  if (it->wake) ZERO(pthread_create(&it->waker, NULL, wake_at_deadline, it));
  ZERO(pthread_create(&it->blocked, NULL, block, it));
}

int main(int argc, char** argv) {
  tolerance = (long long)(option(argc, argv, "--tolerance-ms", 50) * (double)MILLISECOND);
  long long duration = (long long)(option(argc, argv, "--block-ms", 250) * (double)MILLISECOND);
  long long step =
      (long long)(option(argc, argv, "--step-ms", (double)duration / 20e6) * (double)MILLISECOND);
  struct sigaction action = {.sa_handler = ignore_signal}; /* SIGUSR1 ends pause and sigsuspend */
  MUST(sigaction(SIGUSR1, &action, NULL));
  sigset_t waited_for; /* SIGUSR2 is for sigtimedwait and sigwaitinfo */
  sigemptyset(&waited_for);
  sigaddset(&waited_for, SIGUSR2);
  ZERO(pthread_sigmask(SIG_BLOCK, &waited_for, NULL));

  int full_queues = (int)option(argc, argv, "--full-queues", 1), chosen = 0;
  for (int i = 0; i < blocked_case_count; ++i) {
    blocked_cases[i].left_out = blocked_cases[i].of_full_queue && !full_queues;
    chosen += !blocked_cases[i].left_out;
  }
  ZERO(pthread_barrier_init(&started, NULL, (unsigned)chosen + 1));
  end = end_time(argc, argv);
  for (int i = 0; i < blocked_case_count; ++i) {
    if (blocked_cases[i].left_out) continue;
    blocked_cases[i].duration = duration + i * step;
    if (blocked_cases[i].may_be_late) blocked_cases[i].duration /= 4; /* after the last stop */
    start(&blocked_cases[i]);
  }
  pthread_t measuring;
  ZERO(pthread_create(&measuring, NULL, measure_delays, NULL));
  pthread_barrier_wait(&started);
  say("ready");
  for (int i = 0; i < blocked_case_count; ++i) {
    if (blocked_cases[i].left_out) continue;
    ZERO(pthread_join(blocked_cases[i].blocked, NULL));
    if (blocked_cases[i].wake) ZERO(pthread_join(blocked_cases[i].waker, NULL));
    if (blocked_cases[i].tear_down) blocked_cases[i].tear_down(&blocked_cases[i]);
    printf("%s\n", blocked_cases[i].name);
  }
  all_over = 1;
  ZERO(pthread_join(measuring, NULL));
  say("ok");
  return 0;
}
