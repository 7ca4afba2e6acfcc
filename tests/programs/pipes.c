/* Pipes with content: long-lived and full, packets, of a set size, half closed on either side, and
 * between processes with data always in flight. Content is held for --hold-ms (100), then read. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "check.h"

enum { kSize = 1 << 20, kPart = 3000, kInFlight = 20 };

static unsigned char bytes[kSize + 1];

static int waiting(int fd) {
  int count = -1;
  MUST(ioctl(fd, FIONREAD, &count));
  return count;
}

static void put(int fd, size_t size, unsigned seed) {
  fill(bytes, size, seed);
  write_all(fd, bytes, size);
}

static void get(int fd, size_t size, unsigned seed, const char* what) {
  read_all(fd, bytes, size);
  check_filled(bytes, size, seed, what);
}

static int revents(int fd, short events) {
  struct pollfd it = {.fd = fd, .events = events};
  MUST(poll(&it, 1, 0));
  return it.revents;
}

/* Full to the last byte: a writer would block. */
static void fill_up(const int* ends, unsigned round) {
  put(ends[1], 65536, round);
  MUST_FAIL(write(ends[1], "x", 1), EAGAIN);
}

static void empty(const int* ends, unsigned round) {
  CHECK_EQ(revents(ends[1], POLLOUT), 0);
  CHECK_EQ(waiting(ends[0]), 65536);
  MUST_FAIL(write(ends[1], "x", 1), EAGAIN);
  get(ends[0], 65536, round, "full pipe");
  MUST_FAIL(read(ends[0], bytes, 1), EAGAIN);
}

/* Each read gives one packet, however large the buffer. */
static void put_packets(const int* ends, unsigned round) {
  static const size_t kSizes[] = {1, 100, 4096, 7};
  for (unsigned i = 0; i < 4; ++i) put(ends[1], kSizes[i], round + i);
}

static void get_packets(const int* ends, unsigned round) {
  static const ssize_t kSizes[] = {1, 100, 4096, 7};
  CHECK_EQ(MUST(fcntl(ends[1], F_GETFL)), O_WRONLY | O_DIRECT);
  CHECK_EQ(MUST(fcntl(ends[0], F_GETFL)), O_RDONLY);
  for (unsigned i = 0; i < 4; ++i) {
    CHECK_EQ(MUST(read(ends[0], bytes, sizeof bytes)), kSizes[i]);
    check_filled(bytes, (size_t)kSizes[i], round + i, "packet");
  }
}

/* Kept all the time: 1 MiB capacity and odd writes that do not fill the pages. */
static void put_sized(const int* ends) {
  for (unsigned i = 0; i < 40; ++i) put(ends[1], kPart, i);
}

static void get_sized(const int* ends) {
  CHECK_EQ(MUST(fcntl(ends[0], F_GETPIPE_SZ)), kSize);
  CHECK_EQ(waiting(ends[0]), 40 * kPart);
  for (unsigned i = 0; i < 40; ++i) get(ends[0], kPart, i, "sized pipe");
}

/* No writer any more: content, then the end. No reader any more: EPIPE. */
static void make_half_closed(int* no_writer, int* no_reader, unsigned round) {
  MUST(pipe(no_writer)), MUST(pipe(no_reader));
  put(no_writer[1], kPart, round), put(no_reader[1], kPart, round);
  MUST(close(no_writer[1])), MUST(close(no_reader[0]));
}

static void check_half_closed(int* no_writer, int* no_reader, unsigned round) {
  CHECK_EQ(revents(no_writer[0], POLLIN), POLLIN | POLLHUP);
  get(no_writer[0], kPart, round, "pipe without writer");
  CHECK_EQ(MUST(read(no_writer[0], bytes, 1)), 0);
  CHECK_EQ(revents(no_writer[0], POLLIN), POLLHUP);
  CHECK(revents(no_reader[1], POLLOUT) & POLLERR, "expected POLLERR without a reader");
  MUST_FAIL(write(no_reader[1], "x", 1), EPIPE);
  MUST(close(no_writer[0])), MUST(close(no_reader[1]));
}

/* The child gives back each message; the parent is always kInFlight ahead, so that both pipes have
 * content, and the child ends when its last writer closes. */
static void echo(int from, int to) {
  for (unsigned i = 0;; ++i) {
    ssize_t size = MUST(read(from, bytes, 512));
    if (size == 0) _exit(0);
    CHECK_EQ(size, 512);
    check_filled(bytes, 512, i, "message to the child");
    put(to, 512, i + 1);
    if (i % 8 == 0) nap_ms(5);
  }
}

static void exchange(int to, int from, unsigned round, unsigned* sent) {
  for (; *sent < round * 5 + kInFlight; ++*sent) put(to, 512, *sent);
  for (unsigned i = round * 5; i < round * 5 + 5; ++i)
    get(from, 512, i + 1, "message from the child");
}

int main(int argc, char** argv) {
  int full[2], packets[2], sized[2], no_writer[2], no_reader[2], there[2], back[2];
  long long hold_ms = (long long)option(argc, argv, "--hold-ms", 100), end = end_time(argc, argv);
  CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR, "expected to ignore SIGPIPE");
  MUST(pipe(there)), MUST(pipe(back));
  pid_t child = MUST(fork());
  if (child == 0) {
    MUST(close(there[1])), MUST(close(back[0]));
    echo(there[0], back[1]);
  }
  MUST(close(there[0])), MUST(close(back[1]));
  MUST(pipe2(full, O_NONBLOCK)), MUST(pipe2(packets, O_DIRECT)), MUST(pipe(sized));
  CHECK_EQ(MUST(fcntl(sized[1], F_SETPIPE_SZ, kSize)), kSize);
  CHECK_EQ(MUST(fcntl(full[1], F_SETPIPE_SZ, 65536)), 65536);
  put_sized(sized);
  say("ready");
  unsigned round = 0;
  for (unsigned sent = 0; now_ns() < end; ++round) {
    fill_up(full, round), put_packets(packets, round),
        make_half_closed(no_writer, no_reader, round);
    nap_ms(hold_ms);
    empty(full, round), get_packets(packets, round), check_half_closed(no_writer, no_reader, round);
    if (round % 7 == 6) get_sized(sized), put_sized(sized);
    exchange(there[1], back[0], round, &sent);
  }
  get_sized(sized);
  MUST(close(there[1]));
  for (unsigned i = round * 5; i < (round - 1) * 5 + kInFlight; ++i)
    get(back[0], 512, i + 1, "rest");
  CHECK_EQ(MUST(read(back[0], bytes, 1)), 0);
  reap(child, 0);
  say("ok");
  return 0;
}
