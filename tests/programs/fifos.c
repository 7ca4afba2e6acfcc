/* Named pipes with content: open for both, open in two processes, one deleted while open, and a
 * thread that blocks in open until the other side comes. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "check.h"

enum { kPart = 5000 };

static unsigned char bytes[kPart];
static const char* directory;
static const char *late_path, *pair_path;
static int late_over;
static pthread_barrier_t late_turn;

static void put(int fd, unsigned seed) {
  unsigned char part[kPart];
  fill(part, kPart, seed);
  write_all(fd, part, kPart);
}

static void get(int fd, unsigned seed, const char* what) {
  size_t size = 0;
  while (size < kPart) size += (size_t)MUST(read(fd, bytes + size, kPart - size));
  check_filled(bytes, kPart, seed, what);
}

static int waiting(int fd) {
  int seen = -1;
  MUST(ioctl(fd, FIONREAD, &seen));
  return seen;
}

static int make(const char* name, int flags) {
  MUST(mkfifo(in_directory(directory, name), 0600));
  return flags < 0 ? -1 : MUST(open(in_directory(directory, name), flags));
}

/* Opens for reading each round: blocks until main opens for writing, reads until main closes. */
static void* open_late(void* argument) {
  for (unsigned round = 0;; ++round) {
    unsigned char part[kPart];
    pthread_barrier_wait(&late_turn);
    if (late_over) return argument;
    int fd = MUST(open(late_path, O_RDONLY));
    size_t size = 0;
    for (ssize_t more; (more = MUST(read(fd, part + size, kPart - size))) > 0;)
      size += (size_t)more;
    CHECK_EQ(size, kPart);
    check_filled(part, kPart, round, "fifo opened late");
    MUST(close(fd));
  }
}

/* Copies from one end of the pair to the deleted fifo until told to end by the end of the pair. */
static void child(int to) {
  int from = MUST(open(pair_path, O_RDONLY));
  for (unsigned round = 0;; ++round) {
    unsigned char part[kPart];
    size_t size = 0;
    for (ssize_t more; size < kPart && (more = MUST(read(from, part + size, kPart - size))) > 0;)
      size += (size_t)more;
    if (size == 0) _exit(0);
    CHECK_EQ(size, kPart);
    check_filled(part, kPart, round, "fifo to the child");
    put(to, round + 1);
  }
}

int main(int argc, char** argv) {
  long long hold_ms = (long long)option(argc, argv, "--hold-ms", 100), end = end_time(argc, argv);
  directory = temporary_directory();
  int both = make("both", O_RDWR | O_NONBLOCK), deleted = make("deleted", O_RDWR);
  make("pair", -1), make("late", -1);
  late_path = in_directory(directory, "late"), pair_path = in_directory(directory, "pair");
  MUST(unlink(in_directory(directory, "deleted")));
  pid_t pid = MUST(fork());
  if (pid == 0) child(deleted);
  int pair = MUST(open(pair_path, O_WRONLY));
  pthread_t thread;
  ZERO(pthread_barrier_init(&late_turn, NULL, 2));
  ZERO(pthread_create(&thread, NULL, open_late, NULL));
  say("ready");
  for (unsigned round = 0;; ++round) {
    late_over = now_ns() >= end;
    pthread_barrier_wait(&late_turn);
    if (late_over) break;
    put(both, round), put(pair, round);
    nap_ms(hold_ms); /* "both" and "deleted" have content, the thread is blocked in open */
    int late = MUST(open(late_path, O_WRONLY));
    put(late, round);
    MUST(close(late));
    CHECK_EQ(waiting(both), kPart);
    get(both, round, "fifo open for both");
    MUST_FAIL(read(both, bytes, 1), EAGAIN);
    CHECK_EQ(MUST(fcntl(both, F_GETFL)), O_RDWR | O_NONBLOCK | kLargeFile);
    while (waiting(deleted) < kPart) expect_alive(pid), nap_ms(1);
    get(deleted, round + 1, "deleted fifo");
  }
  ZERO(pthread_join(thread, NULL));
  MUST(close(pair));
  reap(pid, 0);
  MUST(unlink(in_directory(directory, "both"))), MUST(unlink(late_path)), MUST(unlink(pair_path));
  MUST(rmdir(directory));
  say("ok");
  return 0;
}
