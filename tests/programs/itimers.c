/* Interval timers of all three kinds, alarm, and POSIX timers: every tick arrives, none too many,
 * and what they say about themselves stays right. Ticks may come late by --max-pause-ms (1000). */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "check.h"

/* A periodic source of one signal. A signal that pends is not sent again, but counted as overrun.
 */
struct Ticker {
  const char* name;
  int number, code;
  long long interval, ticks, begun, last;
  clockid_t clock;
  timer_t timer;
};

enum { kReal, kVirtual, kProf, kMonotonic, kBoot, kThread, kCpu, kHeld, kTickers };
static struct Ticker tickers[kTickers];
static long long end, slack;
static volatile int over;
static pthread_t waiter;
static volatile pid_t waiter_tid;

/* Uses CPU time, so that the timers that count it go on. */
static void* burn(void* argument) {
  volatile unsigned long* sum = argument;
  while (!over) {
    for (int i = 0; i < 300000; ++i) *sum += (unsigned long)i;
    nap_ms(1);
  }
  return NULL;
}

static void count(const siginfo_t* info) {
  for (struct Ticker* it = tickers; it < tickers + kTickers; ++it) {
    if (it->number != info->si_signo) continue;
    CHECK_EQ(info->si_code, it->code);
    if (it->code == SI_TIMER) CHECK_EQ(info->si_value.sival_int, 4711 + it->number);
    it->ticks += 1 + (it->code == SI_TIMER ? info->si_overrun : 0);
    it->last = now_ns();
    return;
  }
  CHECK(0, "expected a signal of a timer, saw %d", info->si_signo);
}

/* Ticks so far have to be the clock's, within the slack. CPU time may begin anew when a process
 * does (nothing can set it), and on a busy machine it goes on slowly: there the ticks only have to
 * go on. */
static void check_ticks(struct Ticker* it) {
  long long now = now_ns(), told = it->ticks * it->interval,
            passed = clock_ns(it->clock) - it->begun;
  long long silence =
      it->clock == CLOCK_MONOTONIC || it->clock == CLOCK_BOOTTIME ? slack : 10 * slack;
  CHECK(now - it->last < silence, "%s: expected the last tick less than %lld ms ago, saw %lld",
        it->name, silence / MILLISECOND, (now - it->last) / MILLISECOND);
  if (it->clock == CLOCK_PROCESS_CPUTIME_ID) return;
  CHECK(told <= passed + it->interval + slack / 10,
        "%s: expected at most %lld ms of ticks, saw %lld", it->name, passed / MILLISECOND,
        told / MILLISECOND);
  if (it->code == SI_TIMER) /* these count what they could not deliver */
    CHECK(told >= passed - slack, "%s: expected %lld ms of ticks, saw %lld", it->name,
          passed / MILLISECOND, told / MILLISECOND);
}

static void* wait_for_ticks(void* argument) {
  sigset_t* signals = argument;
  waiter_tid = (pid_t)syscall(SYS_gettid);
  sigset_t own = *signals;
  sigdelset(&own, SIGRTMIN + kHeld);
  for (long long held_until = 0; !over;) {
    siginfo_t info;
    /* The held one pends for 100 ms at a time and gathers overruns. */
    int take_held = now_ns() >= held_until;
    if (take_held) held_until = now_ns() + 100 * MILLISECOND;
    MUST(sigwaitinfo(take_held ? signals : &own, &info));
    count(&info);
  }
  return NULL;
}

static void start_itimer(struct Ticker* it, int which) {
  struct timeval interval = {0, it->interval / 1000};
  struct itimerval time = {interval, interval};
  it->begun = clock_ns(it->clock);
  it->last = now_ns();
  MUST(setitimer(which, &time, NULL));
}

static void start_timer(struct Ticker* it) {
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = it->number};
  event.sigev_value.sival_int = 4711 + it->number;
  if (it == &tickers[kThread]) {
    event.sigev_notify = SIGEV_THREAD_ID;
    event._sigev_un._tid = waiter_tid;
  }
  struct timespec interval = check_timespec(it->interval);
  struct itimerspec time = {interval, interval};
  it->begun = clock_ns(it->clock);
  it->last = now_ns();
  MUST(timer_create(it->clock, &event, &it->timer));
  MUST(timer_settime(it->timer, 0, &time, NULL));
}

static void check_itimer(int which, long long interval) {
  struct itimerval seen;
  MUST(getitimer(which, &seen));
  CHECK_EQ(seen.it_interval.tv_sec * 1000000LL + seen.it_interval.tv_usec, interval / 1000);
  CHECK(
      seen.it_value.tv_sec * SECOND + seen.it_value.tv_usec * 1000LL <= interval + 8 * MILLISECOND,
      "expected at most an interval left, saw %ld.%06ld s", (long)seen.it_value.tv_sec,
      (long)seen.it_value.tv_usec);
}

/* A timer that only runs down, and one that is not running. */
static void check_silent(timer_t distant, timer_t idle, long long deadline) {
  struct itimerspec seen;
  MUST(timer_gettime(distant, &seen));
  long long left = seen.it_value.tv_sec * SECOND + seen.it_value.tv_nsec,
            expected = deadline - now_ns();
  CHECK(llabs(left - expected) < slack, "expected %lld ms left, saw %lld", expected / MILLISECOND,
        left / MILLISECOND);
  MUST(timer_gettime(idle, &seen));
  CHECK(seen.it_value.tv_sec == 0 && seen.it_value.tv_nsec == 0, "expected an idle timer");
}

/* In a child, because it is the same timer as ITIMER_REAL: once at its time, and one far away. */
static void alarm_child(sigset_t* signals) {
  while (now_ns() < end) {
    int number = 0;
    long long begun = now_ns();
    CHECK_EQ(alarm(1), 0);
    ZERO(sigwait(signals, &number));
    CHECK_EQ(number, SIGALRM);
    CHECK(llabs(now_ns() - begun - SECOND) < slack, "expected a second, saw %lld ms",
          (now_ns() - begun) / MILLISECOND);
  }
  _exit(0);
}

int main(int argc, char** argv) {
  end = end_time(argc, argv);
  slack = (long long)option(argc, argv, "--max-pause-ms", 1000) * MILLISECOND;
  tickers[kReal] =
      (struct Ticker){"ITIMER_REAL", SIGALRM, SI_KERNEL, 7 * MILLISECOND, .clock = CLOCK_MONOTONIC};
  tickers[kVirtual] = (struct Ticker){"ITIMER_VIRTUAL", SIGVTALRM, SI_KERNEL, 12 * MILLISECOND,
                                      .clock = CLOCK_PROCESS_CPUTIME_ID};
  tickers[kProf] = (struct Ticker){"ITIMER_PROF", SIGPROF, SI_KERNEL, 12 * MILLISECOND,
                                   .clock = CLOCK_PROCESS_CPUTIME_ID};
  tickers[kMonotonic] = (struct Ticker){"CLOCK_MONOTONIC", SIGRTMIN + kMonotonic, SI_TIMER,
                                        5 * MILLISECOND, .clock = CLOCK_MONOTONIC};
  tickers[kBoot] = (struct Ticker){"CLOCK_BOOTTIME", SIGRTMIN + kBoot, SI_TIMER, 9 * MILLISECOND,
                                   .clock = CLOCK_BOOTTIME};
  tickers[kThread] = (struct Ticker){"SIGEV_THREAD_ID", SIGRTMIN + kThread, SI_TIMER,
                                     6 * MILLISECOND, .clock = CLOCK_MONOTONIC};
  tickers[kCpu] = (struct Ticker){"CPU time", SIGRTMIN + kCpu, SI_TIMER, 20 * MILLISECOND,
                                  .clock = CLOCK_PROCESS_CPUTIME_ID};
  tickers[kHeld] = (struct Ticker){"held", SIGRTMIN + kHeld, SI_TIMER, 3 * MILLISECOND,
                                   .clock = CLOCK_MONOTONIC};
  sigset_t signals, alarm_only;
  sigemptyset(&signals), sigemptyset(&alarm_only);
  sigaddset(&alarm_only, SIGALRM);
  for (int i = 0; i < kTickers; ++i) sigaddset(&signals, tickers[i].number);
  ZERO(pthread_sigmask(SIG_BLOCK, &signals, NULL));

  pid_t child = MUST(fork());
  if (child == 0) alarm_child(&alarm_only);
  pthread_t burner;
  unsigned long sum = 0;
  ZERO(pthread_create(&waiter, NULL, wait_for_ticks, &signals));
  ZERO(pthread_create(&burner, NULL, burn, &sum));
  while (waiter_tid == 0) nap_ms(1);

  start_itimer(&tickers[kReal], ITIMER_REAL);
  start_itimer(&tickers[kVirtual], ITIMER_VIRTUAL);
  start_itimer(&tickers[kProf], ITIMER_PROF);
  timer_t deleted, distant, idle;
  struct sigevent none = {.sigev_notify = SIGEV_NONE};
  MUST(timer_create(CLOCK_MONOTONIC, &none, &deleted)); /* leaves a hole in the ids */
  MUST(timer_create(CLOCK_MONOTONIC, &none, &distant));
  MUST(timer_create(CLOCK_REALTIME, &none, &idle));
  MUST(timer_delete(deleted));
  struct itimerspec thousand = {.it_value = {1000, 0}};
  long long deadline = now_ns() + 1000 * SECOND;
  MUST(timer_settime(distant, 0, &thousand, NULL));
  for (int i = kMonotonic; i < kTickers; ++i) start_timer(&tickers[i]);
  say("ready");

  while (time_left(end)) {
    for (int i = 0; i < kTickers; ++i) check_ticks(&tickers[i]);
    check_itimer(ITIMER_REAL, tickers[kReal].interval);
    check_itimer(ITIMER_VIRTUAL, tickers[kVirtual].interval);
    check_itimer(ITIMER_PROF, tickers[kProf].interval);
    check_silent(distant, idle, deadline);
  }
  over = 1;
  ZERO(pthread_join(waiter, NULL));
  ZERO(pthread_join(burner, NULL));
  reap(child, 0);
  say("ok");
  return 0;
}
