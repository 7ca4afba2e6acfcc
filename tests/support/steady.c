/* The program that the fault tests disturb: small, never at rest, and any harm done to it shows.
 * Two processes and three threads pass numbers through pipes and shared memory, and change private
 * memory. Prints "ready PID CHILD", then "step N HASH" for N = 0, 1 ..., where the hashes follow
 * from N alone; at SIGTERM "ok N" and exits with 0. A violated expectation, an EINTR among them,
 * prints a line "FAIL" and ends with 1.
 *
 * steady [--mib N] [--file PATH] [--map PATH]: private memory of N MiB that does not compress, a
 * file that is open and read all the time, a file that is mapped. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../programs/check.h"

enum { kPage = 4096, kWords = kPage / 8 };

static volatile sig_atomic_t is_to_end;

static void note_end(int number) {
  (void)number;
  is_to_end = 1;
}

static uint64_t next_hash(uint64_t hash, uint64_t step) {
  return (hash ^ step) * 6364136223846793005ull + 1442695040888963407ull;
}

/* A call that only SIGTERM may have interrupted is made again. */
static void move(int fd, void* bytes, size_t size, ssize_t (*call)(int, void*, size_t)) {
  ssize_t moved;
  do {
    moved = call(fd, bytes, size);
  } while (moved < 0 && errno == EINTR && is_to_end);
  CHECK_EQ(moved, size);
}

static ssize_t write_once(int fd, void* bytes, size_t size) { return write(fd, bytes, size); }

struct Shared {
  volatile uint64_t step; /* written by the parent before, by the child after each question */
  volatile uint64_t answered;
};

struct Family {
  int question[2], answer[2];
  struct Shared* shared;
};

/* The child answers questions until the pipe is closed. */
static void answer_questions(struct Family* family) {
  uint64_t value, count = 0;
  close(family->question[1]);
  close(family->answer[0]);
  signal(SIGTERM, SIG_IGN);
  while (read(family->question[0], &value, sizeof value) == sizeof value) {
    CHECK_EQ(family->shared->step, count);
    value = next_hash(value, count);
    family->shared->answered = ++count;
    move(family->answer[1], &value, sizeof value, write_once);
  }
  _exit(0);
}

/* Two threads take turns, woken by each other or by a timeout. */
static pthread_mutex_t turn_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static uint64_t turns;
static int turns_end;

static void* take_turns(void* argument) {
  const uint64_t mine = (uintptr_t)argument;
  ZERO(pthread_mutex_lock(&turn_mutex));
  while (!turns_end) {
    if (turns % 2 == mine) {
      ++turns;
      ZERO(pthread_cond_broadcast(&turn_changed));
    } else {
      struct timespec limit = check_timespec(clock_ns(CLOCK_REALTIME) + 3 * MILLISECOND);
      int result = pthread_cond_timedwait(&turn_changed, &turn_mutex, &limit);
      CHECK(result == 0 || result == ETIMEDOUT, "expected 0 or ETIMEDOUT, saw %d", result);
    }
  }
  ZERO(pthread_mutex_unlock(&turn_mutex));
  return NULL;
}

struct Memory {
  uint64_t* words;
  size_t pages;
  const unsigned char* mapped;
  int file;
};

/* Every word of a page is known from its number and how often it was changed. */
static uint64_t word_of(size_t page, uint64_t changes, size_t word) {
  return next_hash(page * 1000003 + changes, word * 7919 + 1);
}

static void change_page(struct Memory* memory, uint64_t step) {
  const size_t page = step % memory->pages;
  const uint64_t changes = step / memory->pages;
  uint64_t* words = memory->words + page * kWords;
  for (size_t i = 0; i < kWords; ++i) {
    CHECK_EQ(words[i], word_of(page, changes, i));
    words[i] = word_of(page, changes + 1, i);
  }
}

static void check_files(struct Memory* memory, uint64_t step) {
  char byte = 0;
  if (memory->file >= 0) {
    CHECK_EQ(lseek(memory->file, 0, SEEK_CUR), step % 8);
    CHECK_EQ(MUST(read(memory->file, &byte, 1)), 1);
    CHECK_EQ(byte, '0' + (int)(step % 8));
    if (step % 8 == 7) MUST(lseek(memory->file, 0, SEEK_SET));
  }
  if (memory->mapped) CHECK_EQ(memory->mapped[step % 8], '0' + (int)(step % 8));
}

static struct Memory make_memory(int argc, char** argv) {
  const char* file = text_option(argc, argv, "--file", NULL);
  const char* map = text_option(argc, argv, "--map", NULL);
  struct Memory memory = {.pages = 16 + 256 * (size_t)option(argc, argv, "--mib", 0), .file = -1};
  memory.words =
      mmap(NULL, memory.pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory.words != MAP_FAILED, "expected memory, saw %s", strerror(errno));
  for (size_t i = 0; i < memory.pages * kWords; ++i)
    memory.words[i] = word_of(i / kWords, 0, i % kWords);
  if (file) memory.file = MUST(open(file, O_RDONLY));
  if (map) {
    int fd = MUST(open(map, O_RDONLY));
    memory.mapped = mmap(NULL, kPage, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(memory.mapped != MAP_FAILED, "expected a mapping, saw %s", strerror(errno));
    MUST(close(fd));
  }
  return memory;
}

static uint64_t ask_child(struct Family* family, uint64_t hash, uint64_t step) {
  family->shared->step = step;
  move(family->question[1], &hash, sizeof hash, write_once);
  move(family->answer[0], &hash, sizeof hash, read);
  CHECK_EQ(family->shared->answered, step + 1);
  return hash;
}

__attribute__((format(printf, 1, 2))) static void tell(const char* format, ...) {
  char line[80];
  va_list arguments;
  va_start(arguments, format);
  const int size = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  move(1, line, (size_t)size, write_once);
}

static void nap(void) {
  struct timespec left = check_timespec(4 * MILLISECOND);
  while (nanosleep(&left, &left) != 0)
    CHECK(errno == EINTR && is_to_end, "expected an undisturbed sleep, saw %s", strerror(errno));
}

static pid_t start_child(struct Family* family) {
  family->shared = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(family->shared != MAP_FAILED, "expected shared memory, saw %s", strerror(errno));
  MUST(pipe(family->question));
  MUST(pipe(family->answer));
  pid_t child = MUST(fork());
  if (child == 0) answer_questions(family);
  MUST(close(family->question[0]));
  MUST(close(family->answer[1]));
  return child;
}

/* SIGTERM comes to this thread alone. */
static void start_threads(pthread_t* threads) {
  sigset_t term, before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  ZERO(pthread_sigmask(SIG_BLOCK, &term, &before));
  for (uintptr_t i = 0; i < 2; ++i) ZERO(pthread_create(&threads[i], NULL, take_turns, (void*)i));
  ZERO(pthread_sigmask(SIG_SETMASK, &before, NULL));
}

static void end_threads(pthread_t* threads) {
  ZERO(pthread_mutex_lock(&turn_mutex));
  turns_end = 1;
  ZERO(pthread_mutex_unlock(&turn_mutex));
  for (int i = 0; i < 2; ++i) ZERO(pthread_join(threads[i], NULL));
}

int main(int argc, char** argv) {
  struct Family family;
  pthread_t threads[2];
  struct Memory memory = make_memory(argc, argv);
  const pid_t child = start_child(&family), self = getpid();
  struct sigaction action = {.sa_handler = note_end};
  MUST(sigaction(SIGTERM, &action, NULL));
  start_threads(threads);
  tell("ready %d %d\n", (int)self, (int)child);
  uint64_t hash = 0, step = 0;
  for (; !is_to_end; ++step) {
    hash = ask_child(&family, hash, step);
    change_page(&memory, step);
    check_files(&memory, step);
    CHECK_EQ(getpid(), self);
    expect_alive(child);
    tell("step %llu %016llx\n", (unsigned long long)step, (unsigned long long)hash);
    nap();
  }
  end_threads(threads);
  MUST(close(family.question[1]));
  reap(child, 0);
  tell("ok %llu\n", (unsigned long long)step);
  return 0;
}
