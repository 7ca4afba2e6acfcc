/* Event counters: their values, semaphore mode, a full one, flags, one shared with a child. */
#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/poll.h>

#include "check.h"

static const uint64_t kFull = 0xfffffffffffffffeull;

static void add(int fd, uint64_t value) { write_all(fd, &value, sizeof value); }

static uint64_t take(int fd) {
  uint64_t value = 0;
  read_all(fd, &value, sizeof value);
  return value;
}

static int revents(int fd) {
  struct pollfd it = {.fd = fd, .events = POLLIN | POLLOUT};
  MUST(poll(&it, 1, 0));
  return it.revents;
}

/* Adds what it takes from one to the other, until it takes 1000. */
static void child(int from, int to) {
  uint64_t value;
  while ((value = take(from)) != 1000) add(to, value + 1);
  _exit(0);
}

int main(int argc, char** argv) {
  int counter = MUST(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      empty = MUST(eventfd(0, EFD_NONBLOCK));
  int semaphore = MUST(eventfd(40, EFD_SEMAPHORE | EFD_NONBLOCK));
  int full = MUST(eventfd(0, EFD_NONBLOCK)), to_child = MUST(eventfd(0, 0)),
      back = MUST(eventfd(0, 0));
  add(full, kFull), add(counter, 123456789012345ull);
  pid_t pid = MUST(fork());
  if (pid == 0) child(to_child, back);
  say("ready");
  long long end = end_time(argc, argv);
  for (uint64_t round = 0; time_left(end); ++round) {
    CHECK_EQ(take(counter), 123456789012345ull + round * 3);
    add(counter, 123456789012345ull + round * 3), add(counter, 3);
    uint64_t none;
    MUST_FAIL(read(empty, &none, sizeof none), EAGAIN);
    CHECK_EQ(revents(empty), POLLOUT), CHECK_EQ(revents(full), POLLIN);
    CHECK_EQ(revents(counter), POLLIN | POLLOUT);
    MUST_FAIL(write(full, &(uint64_t){1}, sizeof(uint64_t)), EAGAIN);
    CHECK_EQ(take(full), kFull), add(full, kFull);
    CHECK_EQ(take(semaphore), 1), add(semaphore, 1);
    CHECK_EQ(MUST(fcntl(counter, F_GETFL)), O_RDWR | O_NONBLOCK);
    CHECK_EQ(MUST(fcntl(counter, F_GETFD)), FD_CLOEXEC), CHECK_EQ(MUST(fcntl(full, F_GETFD)), 0);
    add(to_child, 5 + round % 7);
    while (!(revents(back) & POLLIN)) expect_alive(pid), nap_ms(1);
    CHECK_EQ(take(back), 6 + round % 7);
  }
  for (int i = 0; i < 40; ++i) CHECK_EQ(take(semaphore), 1);
  CHECK_EQ(revents(semaphore), POLLOUT);
  add(to_child, 1000);
  reap(pid, 0);
  say("ok");
  return 0;
}
