// What a program pays while it runs: work that would feel anything between it and the kernel.
//
//   running syscalls COUNT     laps of six short system calls
//   running forks COUNT        children that exit at once; every eighth executes `true`
//
// Prints how long it took, in ns, from inside: starting the program is not part of it.
#include <fcntl.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void expect(long result, const char* what) {
  if (result >= 0) return;
  perror(what);
  exit(1);
}

static void make_syscalls(long count) {
  int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  uint32_t word = 0;
  char bytes[64] = {0};
  for (long i = 0; i < count; i++) {
    expect(syscall(SYS_getppid), "getppid");
    expect(syscall(SYS_gettid), "gettid");
    expect(write(null, bytes, sizeof bytes), "write");
    expect(read(zero, bytes, sizeof bytes), "read");
    expect(lseek(null, 0, SEEK_CUR), "lseek");
    expect(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), "futex");
  }
}

static void make_child(int executes) {
  pid_t child = fork();
  expect(child, "fork");
  if (child == 0) {
    if (executes) execl("/bin/true", "true", (char*)NULL);
    _exit(executes);
  }
  int status;
  expect(waitpid(child, &status, 0), "waitpid");
  if (status == 0) return;
  fprintf(stderr, "a child ended with %#x\n", status);
  exit(1);
}

static void make_forks(long count) {
  for (long i = 0; i < count; i++) make_child(i % 8 == 0);
}

int main(int argc, char** argv) {
  long count = argc == 3 ? atol(argv[2]) : 0;
  uint64_t start = now_ns();
  if (count > 0 && !strcmp(argv[1], "syscalls")) {
    make_syscalls(count);
  } else if (count > 0 && !strcmp(argv[1], "forks")) {
    make_forks(count);
  } else {
    fputs("usage: running syscalls|forks COUNT\n", stderr);
    return 2;
  }
  printf("%lu\n", now_ns() - start);
  return 0;
}
