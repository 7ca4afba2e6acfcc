/* Open files: offsets, status flags and descriptor flags; one description shared by dup, by fork
 * and at far numbers, another opened separately. A child moves the offsets that the parent then
 * sees. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"

enum { kFileSize = 100000, kFar = 900 };

static const char *data_path, *log_path;
static int to_child[2], to_parent[2]; /* whose turn it is */

static int open_with(const char* path, int flags) { return MUST(open(path, flags, 0600)); }

static off_t at(int fd) { return MUST(lseek(fd, 0, SEEK_CUR)); }

static void expect_flags(int fd, int status, int descriptor) {
  CHECK_EQ(MUST(fcntl(fd, F_GETFL)), status | kLargeFile);
  CHECK_EQ(MUST(fcntl(fd, F_GETFD)), descriptor);
}

struct Fds {
  int shared, duplicate, far, separate, append, append_again, writer, nonblock, owned, cloexec;
};

static struct Fds open_all(void) {
  struct Fds it;
  it.shared = open_with(data_path, O_RDWR);
  it.duplicate = MUST(dup(it.shared));
  it.far = MUST(fcntl(it.shared, F_DUPFD_CLOEXEC, kFar));
  CHECK_EQ(it.far, kFar);
  it.separate = open_with(data_path, O_RDONLY | O_NOATIME);
  it.append = open_with(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC);
  it.append_again = open_with(log_path, O_RDWR | O_APPEND | O_DSYNC);
  it.writer = open_with(log_path, O_WRONLY | O_SYNC);
  it.nonblock = open_with(data_path, O_RDONLY | O_NONBLOCK);
  int ends[2];
  MUST(pipe(ends));
  it.owned = ends[0];
  MUST(fcntl(it.owned, F_SETOWN, getpid()));
  MUST(fcntl(it.owned, F_SETSIG, SIGCHLD));
  it.cloexec = open_with("/dev/null", O_RDWR);
  MUST(fcntl(it.cloexec, F_SETFD, FD_CLOEXEC));
  MUST(lseek(it.separate, 777, SEEK_SET));
  MUST(lseek(it.writer, 3, SEEK_SET));
  MUST(lseek(it.nonblock, 5ll << 33, SEEK_SET)); /* far beyond the end */
  return it;
}

static void check_flags(const struct Fds* it, int toggled) {
  expect_flags(it->shared, O_RDWR | toggled, 0);
  expect_flags(it->duplicate, O_RDWR | toggled, 0);
  expect_flags(it->far, O_RDWR | toggled, FD_CLOEXEC);
  expect_flags(it->separate, O_RDONLY | O_NOATIME, 0);
  expect_flags(it->append, O_WRONLY | O_APPEND, FD_CLOEXEC);
  expect_flags(it->append_again, O_RDWR | O_APPEND | O_DSYNC, 0);
  expect_flags(it->writer, O_WRONLY | O_SYNC, 0);
  expect_flags(it->nonblock, O_RDONLY | O_NONBLOCK, 0);
  CHECK_EQ(MUST(fcntl(it->cloexec, F_GETFD)), FD_CLOEXEC);
}

/* Reads through one descriptor of the shared description; the others have to follow. */
static void read_some(const struct Fds* it, int fd, int size) {
  unsigned char bytes[256];
  off_t before = at(it->shared);
  read_all(fd, bytes, (size_t)size);
  for (int i = 0; i < size; ++i) CHECK_EQ(bytes[i], pattern_byte(1, (size_t)(before + i)));
  CHECK_EQ(at(it->shared), before + size);
  CHECK_EQ(at(it->duplicate), before + size);
  CHECK_EQ(at(it->far), before + size);
}

static void check_still(const struct Fds* it) {
  CHECK_EQ(at(it->separate), 777);
  CHECK_EQ(at(it->writer), 3);
  CHECK_EQ(at(it->nonblock), 5ll << 33);
  MUST_FAIL(fcntl(kFar - 1, F_GETFD), EBADF);
}

/* The child reads 7 bytes, appends a line and toggles O_NONBLOCK whenever it is its turn. */
static void child(const struct Fds* it, pid_t parent) {
  MUST(close(to_child[1]));
  for (char turn; MUST(read(to_child[0], &turn, 1)) == 1;) {
    read_some(it, it->duplicate, 7);
    write_all(it->append, "child\n", 6);
    int flags = MUST(fcntl(it->far, F_GETFL));
    MUST(fcntl(it->far, F_SETFL, flags ^ O_NONBLOCK));
    check_flags(it, (flags ^ O_NONBLOCK) & O_NONBLOCK);
    check_still(it);
    CHECK_EQ(MUST(fcntl(it->owned, F_GETOWN)), parent);
    CHECK_EQ(MUST(fcntl(it->owned, F_GETSIG)), SIGCHLD);
    write_all(to_parent[1], "c", 1);
  }
  _exit(0);
}

static void one_turn(const struct Fds* it, int round, off_t* expected) {
  char turn = 'p';
  struct stat log;
  check_flags(it, round % 2 ? O_NONBLOCK : 0);
  read_some(it, it->shared, 11);
  write_all(it->append_again, "parent\n", 7);
  CHECK_EQ(at(it->append_again), 13ll * round + 7);
  write_all(to_child[1], &turn, 1);
  read_all(to_parent[0], &turn, 1);
  CHECK_EQ(at(it->shared), *expected + 18);
  *expected = (*expected + 18) % (kFileSize - 1000);
  MUST(lseek(it->far, *expected, SEEK_SET));
  check_flags(it, round % 2 ? 0 : O_NONBLOCK);
  check_still(it);
  CHECK_EQ(MUST(fcntl(it->owned, F_GETOWN)), getpid());
  MUST(fstat(it->writer, &log));
  CHECK_EQ(log.st_size, 13ll * (round + 1));
}

int main(int argc, char** argv) {
  struct rlimit files = {kFar + 100, kFar + 100};
  MUST(setrlimit(RLIMIT_NOFILE, &files));
  const char* directory = temporary_directory();
  data_path = in_directory(directory, "data"), log_path = in_directory(directory, "log");
  unsigned char* bytes = malloc(kFileSize);
  fill(bytes, kFileSize, 1);
  int data = open_with(data_path, O_WRONLY | O_CREAT);
  write_all(data, bytes, kFileSize);
  MUST(close(data));
  struct Fds it = open_all();
  MUST(pipe(to_child)), MUST(pipe(to_parent));
  pid_t parent = getpid(), pid = MUST(fork());
  if (pid == 0) child(&it, parent);
  MUST(close(to_child[0])), MUST(close(to_parent[1]));
  say("ready");
  off_t expected = 0;
  long long end = end_time(argc, argv);
  for (int round = 0; time_left(end); ++round) one_turn(&it, round, &expected);
  MUST(close(to_child[1]));
  reap(pid, 0);
  MUST(unlink(data_path)), MUST(unlink(log_path)), MUST(rmdir(directory));
  say("ok");
  return 0;
}
