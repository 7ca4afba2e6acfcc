/* Open character devices: null, zero, full, random, urandom; and /dev/zero mapped. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "check.h"

enum { kPage = 4096 };

static void expect_device(int fd, unsigned minor_number, int flags) {
  struct stat it;
  MUST(fstat(fd, &it));
  CHECK_EQ(it.st_mode & S_IFMT, S_IFCHR);
  CHECK(major(it.st_rdev) == 1 && minor(it.st_rdev) == minor_number, "expected 1:%u, saw %u:%u",
        minor_number, major(it.st_rdev), minor(it.st_rdev));
  CHECK_EQ(MUST(fcntl(fd, F_GETFL)), flags | kLargeFile);
}

/* Two reads of random bytes are never the same, nor all zero. */
static void check_random(int fd) {
  unsigned char first[32], second[32], zeros[32] = {0};
  read_all(fd, first, sizeof first), read_all(fd, second, sizeof second);
  CHECK(memcmp(first, second, 32) != 0 && memcmp(first, zeros, 32) != 0, "expected random bytes");
}

int main(int argc, char** argv) {
  unsigned char bytes[kPage];
  int null = MUST(open("/dev/null", O_RDWR | O_APPEND));
  int zero = MUST(open("/dev/zero", O_RDONLY));
  int full = MUST(open("/dev/full", O_RDWR));
  int random = MUST(open("/dev/random", O_RDONLY | O_NONBLOCK));
  int urandom = MUST(open("/dev/urandom", O_RDONLY));
  int zero_rw = MUST(open("/dev/zero", O_RDWR));
  unsigned char* private =
      MUST(mmap(NULL, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero_rw, 0));
  unsigned char* shared =
      MUST(mmap(NULL, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, zero_rw, 0));
  fill(private + kPage, kPage, 1);
  fill(shared + kPage, kPage, 2);
  say("ready");
  long long end = end_time(argc, argv);
  while (time_left(end)) {
    expect_device(null, 3, O_RDWR | O_APPEND), expect_device(zero, 5, O_RDONLY);
    expect_device(full, 7, O_RDWR), expect_device(random, 8, O_RDONLY | O_NONBLOCK);
    expect_device(urandom, 9, O_RDONLY), expect_device(zero_rw, 5, O_RDWR);
    write_all(null, bytes, sizeof bytes);
    CHECK_EQ(MUST(read(null, bytes, sizeof bytes)), 0);
    memset(bytes, 1, sizeof bytes);
    read_all(zero, bytes, sizeof bytes), check_zeros(bytes, sizeof bytes, "/dev/zero");
    MUST_FAIL(write(full, bytes, 1), ENOSPC);
    memset(bytes, 1, sizeof bytes);
    read_all(full, bytes, sizeof bytes), check_zeros(bytes, sizeof bytes, "/dev/full");
    check_random(random), check_random(urandom);
    check_zeros(private, kPage, "private before"),
        check_zeros(private + 2 * kPage, 2 * kPage, "private after");
    check_filled(private + kPage, kPage, 1, "private"),
        check_filled(shared + kPage, kPage, 2, "shared");
    check_zeros(shared, kPage, "shared before");
  }
  say("ok");
  return 0;
}
