/* What every test program shares: checks that say what was expected and seen, the monotonic clock,
 * options, and the two lines "ready" and "ok". C11 and C++20, any libc.
 *
 * Nothing here retries on EINTR: no program of this directory gets a signal that it did not ask
 * for, so an interrupted call is itself a failure. */
#ifndef TESTS_PROGRAMS_CHECK_H_
#define TESTS_PROGRAMS_CHECK_H_

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* For a program that closes its standard error. */
static int check_errors = 2;

/* Prints one line "FAIL file:line: expression: message" to stderr and ends the process with 1. */
__attribute__((noreturn, format(printf, 4, 5))) static inline void check_fail(
    const char* file, int line, const char* expression, const char* format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  const char* name = strrchr(file, '/');
  dprintf(check_errors, "FAIL %s:%d: %s: %s (pid %d)\n", name ? name + 1 : file, line, expression,
          text, (int)getpid());
  _exit(1);
}

/* CHECK(condition, format, ...): the message says what was expected and what was seen. */
#define CHECK(condition, ...) \
  ((condition) ? (void)0 : check_fail(__FILE__, __LINE__, #condition, __VA_ARGS__))

/* CHECK_EQ(seen, expected) for integers and pointers. */
#define CHECK_EQ(seen, expected)                                                                  \
  __extension__({                                                                                 \
    long long seen_ = (long long)(seen), expected_ = (long long)(expected);                       \
    if (seen_ != expected_)                                                                       \
      check_fail(__FILE__, __LINE__, #seen, "expected %lld (%#llx), saw %lld (%#llx)", expected_, \
                 (unsigned long long)expected_, seen_, (unsigned long long)seen_);                \
  })

/* The value of a call that returns -1 (or MAP_FAILED) and sets errno when it fails. */
#define MUST(call)                                                                        \
  __extension__({                                                                         \
    __typeof__(call) result_ = (call);                                                    \
    if ((long long)result_ == -1)                                                         \
      check_fail(__FILE__, __LINE__, #call, "expected success, saw %s", strerror(errno)); \
    result_;                                                                              \
  })

/* A call that returns 0 or an error number (the pthread family). */
#define ZERO(call)                                                                             \
  __extension__({                                                                              \
    int error_ = (call);                                                                       \
    if (error_) check_fail(__FILE__, __LINE__, #call, "expected 0, saw %s", strerror(error_)); \
  })

/* A call that has to fail with the given errno. */
#define MUST_FAIL(call, error)                                                             \
  __extension__({                                                                          \
    errno = 0;                                                                             \
    long long result_ = (long long)(call);                                                 \
    if (result_ != -1 || errno != (error))                                                 \
      check_fail(__FILE__, __LINE__, #call, "expected -1 and %s, saw %lld and %s", #error, \
                 result_, strerror(errno));                                                \
  })

/* What F_GETFL shows of every open file of a 64-bit program; the C library's O_LARGEFILE is 0. */
enum { kLargeFile = 0100000 };

#define MILLISECOND 1000000LL
#define SECOND 1000000000LL

static inline struct timespec check_timespec(long long ns) {
  struct timespec time;
  time.tv_sec = (time_t)(ns / SECOND);
  time.tv_nsec = (long)(ns % SECOND);
  return time;
}

static inline long long clock_ns(clockid_t clock) {
  struct timespec time;
  MUST(clock_gettime(clock, &time));
  return time.tv_sec * SECOND + time.tv_nsec;
}

static inline long long now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* Sleeps until an absolute CLOCK_MONOTONIC time, and fails if woken by anything else. */
static inline void sleep_until(long long ns) {
  struct timespec time = check_timespec(ns);
  ZERO(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL));
}

static inline void nap_ms(long long milliseconds) {
  sleep_until(now_ns() + milliseconds * MILLISECOND);
}

/* The word after `name` on the command line, else `fallback`. */
static inline const char* text_option(int argc, char** argv, const char* name,
                                      const char* fallback) {
  for (int i = 1; i + 1 < argc; ++i)
    if (strcmp(argv[i], name) == 0) return argv[i + 1];
  return fallback;
}

/* The same for a number. */
static inline double option(int argc, char** argv, const char* name, double fallback) {
  const char* word = text_option(argc, argv, name, NULL);
  return word ? strtod(word, NULL) : fallback;
}

/* The monotonic time at which the program has to end: now and --seconds (3). */
static inline long long end_time(int argc, char** argv) {
  return now_ns() + (long long)(option(argc, argv, "--seconds", 3) * (double)SECOND);
}

/* Naps 10 ms; is there time left before `end`? The loop condition of most programs. */
static inline int time_left(long long end) {
  nap_ms(10);
  return now_ns() < end;
}

/* Prints a line and flushes, so that no fork or kill ever finds half a line in the buffer. */
static inline void say(const char* line) {
  puts(line);
  fflush(stdout);
}

/* Waits for a child that has to exit by itself with `status`. */
static inline void reap(pid_t child, int status) {
  int seen = 0;
  CHECK_EQ(MUST(waitpid(child, &seen, 0)), child);
  CHECK(WIFEXITED(seen) && WEXITSTATUS(seen) == status,
        "child %d: expected exit status %d, saw wait status %#x", (int)child, status,
        (unsigned)seen);
}

/* Fails if the child has ended (by a failed check of its own, for example). */
static inline void expect_alive(pid_t child) { CHECK_EQ(waitpid(child, NULL, WNOHANG), 0); }

/* Writes or reads exactly `size` bytes in one call. */
static inline void write_all(int fd, const void* bytes, size_t size) {
  CHECK_EQ(MUST(write(fd, bytes, size)), size);
}

static inline void read_all(int fd, void* bytes, size_t size) {
  CHECK_EQ(MUST(read(fd, bytes, size)), size);
}

/* Deterministic bytes that differ for every seed, and their check. */
static inline unsigned char pattern_byte(unsigned seed, size_t i) {
  unsigned x = (unsigned)i * 2654435761u + seed * 40503u + 12345u;
  return (unsigned char)((x >> 24) ^ (x >> 11) ^ x);
}

static inline void fill(void* bytes, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; ++i) ((unsigned char*)bytes)[i] = pattern_byte(seed, i);
}

/* Bytes [from, to) of what was filled from `bytes` on. */
static inline void check_part(const void* bytes, size_t from, size_t to, unsigned seed,
                              const char* what) {
  for (size_t i = from; i < to; ++i) {
    unsigned char seen = ((const unsigned char*)bytes)[i], expected = pattern_byte(seed, i);
    CHECK(seen == expected, "%s: byte %zu: expected %#x, saw %#x", what, i, expected, seen);
  }
}

static inline void check_filled(const void* bytes, size_t size, unsigned seed, const char* what) {
  check_part(bytes, 0, size, seed, what);
}

static inline void check_zeros(const void* bytes, size_t size, const char* what) {
  for (size_t i = 0; i < size; ++i)
    CHECK(((const unsigned char*)bytes)[i] == 0, "%s: byte %zu: expected 0, saw %#x", what, i,
          ((const unsigned char*)bytes)[i]);
}

/* A new directory under $TMPDIR or /tmp; whoever makes it removes it. */
static inline const char* temporary_directory(void) {
  static char path[4096];
  const char* base = getenv("TMPDIR");
  snprintf(path, sizeof path, "%s/program-XXXXXX", base ? base : "/tmp");
  CHECK(mkdtemp(path) != NULL, "expected a directory %s, saw %s", path, strerror(errno));
  return path;
}

/* "directory/name" in one of eight buffers that take turns. */
static inline const char* in_directory(const char* directory, const char* name) {
  static char paths[8][4200];
  static unsigned next;
  char* path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

#endif /* TESTS_PROGRAMS_CHECK_H_ */
