/* Files without a name: open and deleted, mapped and deleted with and without a descriptor, opened
 * twice, never named (O_TMPFILE), replaced by another of the same name, and one of two hard links
 * deleted. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "check.h"

enum { kSize = 5 * 4096 + 123, kMapped = 6 * 4096 };

static const char* directory;

static int make(const char* name, unsigned seed) {
  static unsigned char bytes[kSize];
  fill(bytes, kSize, seed);
  int fd = MUST(open(in_directory(directory, name), O_RDWR | O_CREAT, 0640));
  write_all(fd, bytes, kSize);
  return fd;
}

static struct stat status(int fd) {
  struct stat it;
  MUST(fstat(fd, &it));
  return it;
}

static void expect_content(int fd, unsigned seed, const char* what) {
  static unsigned char seen[kSize + 1];
  CHECK_EQ(MUST(pread(fd, seen, sizeof seen, 0)), kSize);
  check_filled(seen, kSize, seed, what);
}

static unsigned char* map(int fd, int flags) {
  return MUST(mmap(NULL, kMapped, PROT_READ | PROT_WRITE, flags, fd, 0));
}

/* Open twice: separate offsets, one file. A change by one is seen by the other and in the mapping.
 */
static void check_open(int first, int second, unsigned char* mapped, unsigned round) {
  unsigned char mark = (unsigned char)round, seen;
  CHECK_EQ(status(first).st_nlink, 0);
  CHECK_EQ(status(first).st_mode, S_IFREG | 0640);
  CHECK_EQ(status(first).st_ino, status(second).st_ino);
  CHECK_EQ(MUST(lseek(first, 0, SEEK_CUR)), kSize);
  CHECK_EQ(MUST(lseek(second, 0, SEEK_CUR)), 4097);
  CHECK_EQ(MUST(pwrite(first, &mark, 1, 4096)), 1);
  CHECK_EQ(MUST(pread(second, &seen, 1, 4096)), 1);
  CHECK_EQ(seen, mark);
  CHECK_EQ(mapped[4096], mark);
  CHECK_EQ(MUST(fcntl(second, F_GETFL)) & O_ACCMODE, O_RDONLY);
  mapped[4096] = pattern_byte(1, 4096);
  expect_content(second, 1, "open and deleted");
}

/* Its descriptor is closed: only the mapping keeps it. Beyond its end, the last page is zero. */
static void check_mapped(unsigned char* shared, unsigned char* private) {
  check_filled(shared, kSize, 2, "mapped and deleted, shared");
  check_zeros(shared + kSize, kMapped - kSize, "mapped and deleted, tail");
  check_filled(private, 4096, 2, "mapped and deleted, private");
  check_filled(private + 4096, 4096, 33, "mapped and deleted, private and changed");
  check_part(private, 8192, kSize, 2, "mapped and deleted, private end");
}

/* The old file under a name that a new one has taken. */
static void check_replaced(int old) {
  int new = MUST(open(in_directory(directory, "replaced"), O_RDONLY));
  CHECK_EQ(status(old).st_nlink, 0);
  CHECK(status(old).st_ino != status(new).st_ino, "expected two files, saw one");
  expect_content(old, 3, "replaced, old");
  expect_content(new, 4, "replaced, new");
  MUST(close(new));
}

/* Opened by a name that is gone; the file lives on under another. */
static void check_linked(int fd, unsigned round) {
  struct stat other;
  MUST(stat(in_directory(directory, "kept"), &other));
  CHECK_EQ(other.st_nlink, 1);
  CHECK(other.st_ino == status(fd).st_ino && other.st_dev == status(fd).st_dev,
        "expected the file of the other name");
  CHECK_EQ(MUST(pwrite(fd, &round, sizeof round, kSize)), sizeof round);
  MUST(ftruncate(fd, kSize));
  expect_content(fd, 5, "hard link");
}

static void check_unnamed(int fd, unsigned round) {
  CHECK_EQ(status(fd).st_nlink, 0);
  CHECK_EQ(status(fd).st_size, 1000 + 8 * (off_t)round);
  CHECK_EQ(MUST(pwrite(fd, "rounds!", 8, 1000 + 8 * (off_t)round)), 8);
}

int main(int argc, char** argv) {
  directory = temporary_directory();
  int first = make("open", 1), second = MUST(open(in_directory(directory, "open"), O_RDONLY));
  MUST(lseek(second, 4097, SEEK_SET));
  unsigned char* open_map = map(first, MAP_SHARED);

  int fd = make("mapped", 2);
  unsigned char *shared = map(fd, MAP_SHARED), *private = map(fd, MAP_PRIVATE);
  fill(private + 4096, 4096, 33);
  MUST(close(fd));

  int replaced = make("replaced", 3);
  MUST(close(make("new", 4)));
  MUST(rename(in_directory(directory, "new"), in_directory(directory, "replaced")));

  int linked = make("linked", 5);
  MUST(link(in_directory(directory, "linked"), in_directory(directory, "kept")));
  static const char* const kDeleted[] = {"open", "mapped", "linked"};
  for (int i = 0; i < 3; ++i) MUST(unlink(in_directory(directory, kDeleted[i])));

  int unnamed = open(directory, O_TMPFILE | O_RDWR, 0600);
  if (unnamed < 0) fprintf(stderr, "skipped: no O_TMPFILE in %s\n", directory);
  if (unnamed >= 0) MUST(ftruncate(unnamed, 1000));

  say("ready");
  long long end = end_time(argc, argv);
  for (unsigned round = 0; time_left(end); ++round) {
    check_open(first, second, open_map, round);
    check_mapped(shared, private);
    check_replaced(replaced);
    check_linked(linked, round);
    if (unnamed >= 0) check_unnamed(unnamed, round);
  }
  MUST(unlink(in_directory(directory, "kept"))), MUST(unlink(in_directory(directory, "replaced")));
  MUST(rmdir(directory));
  say("ok");
  return 0;
}
