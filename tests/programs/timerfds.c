/* Timer descriptors: periodic on two clocks, one far away, one absolute in real time, one expired
 * and not yet read, one disarmed. What has expired is what the clock says, within --tolerance-ms
 * (100). */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/timerfd.h>

#include "check.h"

struct Periodic {
  const char* name;
  clockid_t clock;
  long long interval, first, ticks, begun;
  int fd;
};

static long long tolerance;

static void start(struct Periodic* it) {
  struct itimerspec time = {check_timespec(it->interval), check_timespec(it->first)};
  it->fd = MUST(timerfd_create(it->clock, TFD_NONBLOCK | TFD_CLOEXEC));
  it->begun = clock_ns(it->clock);
  MUST(timerfd_settime(it->fd, 0, &time, NULL));
}

/* How often it has expired at a time of its clock. */
static long long expirations_at(const struct Periodic* it, long long time) {
  long long passed = time - it->begun;
  return passed < it->first ? 0 : 1 + (passed - it->first) / it->interval;
}

/* All that expired before the read has been told, and nothing that expires after it. */
static void check_periodic(struct Periodic* it) {
  uint64_t ticks = 0;
  long long before = clock_ns(it->clock) - tolerance;
  ssize_t size = read(it->fd, &ticks, sizeof ticks);
  CHECK(size == 8 || errno == EAGAIN, "expected 8 bytes or EAGAIN, saw %s", strerror(errno));
  long long after = clock_ns(it->clock) + tolerance;
  it->ticks += (long long)ticks;
  CHECK(it->ticks >= expirations_at(it, before) && it->ticks <= expirations_at(it, after),
        "%s: expected %lld to %lld expirations, saw %lld", it->name, expirations_at(it, before),
        expirations_at(it, after), it->ticks);
  struct itimerspec seen;
  MUST(timerfd_gettime(it->fd, &seen));
  CHECK_EQ(seen.it_interval.tv_sec * SECOND + seen.it_interval.tv_nsec, it->interval);
  CHECK_EQ(MUST(fcntl(it->fd, F_GETFL)), O_RDWR | O_NONBLOCK);
}

static long long left(int fd) {
  struct itimerspec seen;
  MUST(timerfd_gettime(fd, &seen));
  return seen.it_value.tv_sec * SECOND + seen.it_value.tv_nsec;
}

static int arm(clockid_t clock, int flags, long long value, long long interval) {
  struct itimerspec time = {check_timespec(interval), check_timespec(value)};
  int fd = MUST(timerfd_create(clock, TFD_NONBLOCK));
  MUST(timerfd_settime(fd, flags, &time, NULL));
  return fd;
}

static int readable(int fd) {
  struct pollfd it = {.fd = fd, .events = POLLIN};
  return MUST(poll(&it, 1, 0));
}

/* A timer that runs down to a time of its clock. */
static void expect_runs_to(int fd, clockid_t clock, long long time, long long allowed,
                           const char* what) {
  long long before = clock_ns(clock), seen = left(fd), after = clock_ns(clock);
  CHECK(before + seen <= time + allowed && after + seen >= time - allowed,
        "%s: expected %lld ms left, saw %lld", what, (time - after) / MILLISECOND,
        seen / MILLISECOND);
  CHECK_EQ(readable(fd), 0);
}

int main(int argc, char** argv) {
  long long end = end_time(argc, argv);
  tolerance = (long long)option(argc, argv, "--tolerance-ms", 100) * MILLISECOND;
  struct Periodic periodic[] = {
      {.name = "monotonic",
       .clock = CLOCK_MONOTONIC,
       .interval = 7 * MILLISECOND,
       .first = 7 * MILLISECOND},
      {.name = "boottime", .clock = CLOCK_BOOTTIME, .interval = 31 * MILLISECOND, .first = 1},
      {.name = "slow",
       .clock = CLOCK_MONOTONIC,
       .interval = 700 * MILLISECOND,
       .first = 150 * MILLISECOND},
  };
  uint64_t expirations = 0;
  for (int i = 0; i < 3; ++i) start(&periodic[i]);
  long long far = now_ns() + 5000 * SECOND, real = clock_ns(CLOCK_REALTIME) + 1000000 * SECOND;
  int relative = arm(CLOCK_MONOTONIC, 0, far - now_ns(), 0);
  int absolute = arm(CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, far, 3 * SECOND);
  int real_time = arm(CLOCK_REALTIME, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, real, 0);
  int disarmed = arm(CLOCK_MONOTONIC, 0, 0, 0), expired = arm(CLOCK_MONOTONIC, 0, 1, 0);
  nap_ms(1);
  say("ready");
  while (time_left(end)) {
    for (int i = 0; i < 3; ++i) check_periodic(&periodic[i]);
    expect_runs_to(relative, CLOCK_MONOTONIC, far, tolerance, "relative");
    expect_runs_to(absolute, CLOCK_MONOTONIC, far, MILLISECOND, "absolute");
    expect_runs_to(real_time, CLOCK_REALTIME, real, SECOND, "real time");
    CHECK_EQ(readable(disarmed), 0);
    CHECK_EQ(left(disarmed), 0);
    CHECK_EQ(readable(expired), 1);
    CHECK_EQ(left(expired), 0);
    MUST_FAIL(read(disarmed, &expirations, sizeof expirations), EAGAIN);
  }
  read_all(expired, &expirations, sizeof expirations);
  CHECK_EQ(expirations, 1);
  MUST_FAIL(read(expired, &expirations, sizeof expirations), EAGAIN);
  say("ok");
  return 0;
}
