/* Epoll sets: level, edge and one-shot, with their data; a registered descriptor closed while a
 * duplicate of it lives, its number taken by another file; a set within a set; a set shared with a
 * child. Nothing is reported that was reported before, nothing is lost. */
#include <fcntl.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "check.h"

enum { kLevel, kIdle, kEdge, kOneShot, kClosed, kReused, kInner, kWriter, kNames };

static int set, inner, ends[kNames][2];

static uint64_t data_of(int name) {
  return 0xabcdef0000000000ull + (uint64_t)name * 0x100000001ull;
}

static void control(int epoll, int operation, int fd, unsigned events, int name) {
  struct epoll_event event = {.events = events, .data.u64 = data_of(name)};
  MUST(epoll_ctl(epoll, operation, fd, &event));
}

/* What is ready now has to be this set of names with these events. */
static void expect(int epoll, unsigned names, const unsigned* events) {
  struct epoll_event seen[16];
  int count = MUST(epoll_wait(epoll, seen, 16, 0));
  for (int i = 0; i < count; ++i) {
    int name = 0;
    while (name < kNames && data_of(name) != seen[i].data.u64) ++name;
    CHECK(name < kNames && (names & 1u << name), "expected names %#x, saw data %#llx", names,
          (unsigned long long)seen[i].data.u64);
    CHECK_EQ(seen[i].events, events[name]);
    names &= ~(1u << name);
  }
  CHECK(names == 0, "expected names %#x besides, saw %d events", names, count);
}

static void put(int name) { write_all(ends[name][1], "x", 1); }

static void take(int name) {
  char byte;
  read_all(ends[name][0], &byte, 1);
}

static void set_up(void) {
  set = MUST(epoll_create1(EPOLL_CLOEXEC)), inner = MUST(epoll_create1(0));
  for (int i = 0; i < kNames; ++i) MUST(pipe2(ends[i], O_NONBLOCK));
  control(set, EPOLL_CTL_ADD, ends[kLevel][0], EPOLLIN | EPOLLRDHUP, kLevel);
  control(set, EPOLL_CTL_ADD, ends[kIdle][0], EPOLLIN | EPOLLPRI, kIdle);
  control(set, EPOLL_CTL_ADD, ends[kEdge][0], EPOLLIN | EPOLLET, kEdge);
  control(set, EPOLL_CTL_ADD, ends[kOneShot][0], EPOLLIN | EPOLLONESHOT, kOneShot);
  control(set, EPOLL_CTL_ADD, ends[kWriter][1], EPOLLOUT | EPOLLET, kWriter);
  control(inner, EPOLL_CTL_ADD, ends[kInner][0], EPOLLIN, kInner);
  control(set, EPOLL_CTL_ADD, inner, EPOLLIN, kInner);
  /* The registered descriptor is closed, its file lives on by a duplicate; its number is another's.
   */
  int registered = ends[kClosed][0];
  control(set, EPOLL_CTL_ADD, registered, EPOLLIN, kClosed);
  ends[kClosed][0] = MUST(dup(registered));
  MUST(close(registered));
  CHECK_EQ(MUST(dup2(ends[kReused][0], registered)), registered);
  control(set, EPOLL_CTL_ADD, registered, EPOLLIN, kReused);
}

static const unsigned kEvents[kNames] = {
    [kLevel] = EPOLLIN,  [kEdge] = EPOLLIN,  [kOneShot] = EPOLLIN, [kClosed] = EPOLLIN,
    [kReused] = EPOLLIN, [kInner] = EPOLLIN, [kWriter] = EPOLLOUT};

/* Waits without end in the same set for what the parent sends, and answers it. */
static void child(int epoll, int from, int to) {
  for (char byte = 0; byte != 'e';) {
    struct epoll_event seen;
    CHECK_EQ(MUST(epoll_wait(epoll, &seen, 1, -1)), 1);
    CHECK_EQ(seen.data.u64, data_of(kLevel));
    read_all(from, &byte, 1);
    write_all(to, &byte, 1);
  }
  _exit(0);
}

/* All names become ready; held, they are reported as their kind has it; then they are emptied. */
static void one_round(long long hold_ms) {
  for (int i = kLevel; i <= kInner; ++i)
    if (i != kIdle) put(i);
  const unsigned kOnce = 1u << kEdge | 1u << kOneShot,
                 kAlways = 1u << kLevel | 1u << kClosed | 1u << kReused | 1u << kInner;
  nap_ms(hold_ms);
  expect(set, kAlways | kOnce, kEvents);
  for (long long until = now_ns() + hold_ms * MILLISECOND; time_left(until);)
    expect(set, kAlways, kEvents);
  expect(inner, 1u << kInner, kEvents);
  put(kEdge), put(kOneShot);
  expect(set, kAlways | 1u << kEdge, kEvents);
  control(set, EPOLL_CTL_MOD, ends[kOneShot][0], EPOLLIN | EPOLLONESHOT, kOneShot);
  expect(set, kAlways | 1u << kOneShot, kEvents);
  for (int i = kLevel; i <= kInner; ++i)
    if (i != kIdle) take(i);
  take(kEdge), take(kOneShot);
  control(set, EPOLL_CTL_MOD, ends[kOneShot][0], EPOLLIN | EPOLLONESHOT, kOneShot);
  nap_ms(hold_ms);
  expect(set, 0, kEvents);
}

int main(int argc, char** argv) {
  long long hold_ms = (long long)option(argc, argv, "--hold-ms", 40), end = end_time(argc, argv);
  int to_child[2], back[2], shared = MUST(epoll_create1(0));
  MUST(pipe(to_child)), MUST(pipe(back));
  control(shared, EPOLL_CTL_ADD, to_child[0], EPOLLIN, kLevel);
  pid_t pid = MUST(fork());
  if (pid == 0) child(shared, to_child[0], back[1]);
  MUST(close(back[1]));
  set_up();
  expect(set, 1u << kWriter, kEvents); /* the edge of being writable comes once */
  say("ready");
  while (now_ns() < end) {
    char byte = 0;
    one_round(hold_ms);
    write_all(to_child[1], "r", 1);
    read_all(back[0], &byte, 1);
    CHECK_EQ(byte, 'r');
  }
  write_all(to_child[1], "e", 1);
  reap(pid, 0);
  say("ok");
  return 0;
}
