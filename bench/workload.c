// The program that is checkpointed: it has memory, threads and processes as it is told, and a
// thread that spins and notes on the board (board.h) when it was last seen and for how long it was
// not.
//
//   workload BOARD [--random BYTES] [--zeros BYTES] [--threads N] [--processes N]
//
// The bytes are each process's own; the threads are the first process's, the main and the spinning
// one included. Process i (from 0) is the parent of 2i+1 and 2i+2. All but one thread wait in a
// system call. At SIGUSR1 to the first process everybody looks whether his memory is as it was, and
// answers; at SIGUSR2 every process forks and tells how long that took.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "board.h"
#include "memory.h"

enum { max_children = 2, waiter_stack = 64 * 1024 };

// Nobody is left spinning if the bench is killed.
static const uint64_t lifetime_ns = 1800 * 1000000000ull;

struct plan {
  struct board* board;
  size_t random_bytes;
  size_t zero_bytes;
  long threads;
  long processes;
};

struct self {
  const struct plan* plan;
  long index;
  uint64_t* random;
  uint64_t* zeros;
  pid_t children[max_children];
};

struct question {
  struct board* board;
  pthread_mutex_t mutex;
  pthread_cond_t asked;
  uint64_t number;
};

static void die(const char* what) {
  perror(what);
  exit(1);
}

static uint64_t clock_ns(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void note_gap(struct board* board, uint64_t gap) {
  if (gap <= atomic_load(&board->longest_gap_ns)) return;
  atomic_store(&board->longest_gap_ns, gap);
  atomic_store(&board->longest_gap_at, clock_ns(CLOCK_REALTIME));
}

// `waiting_since` is read before the clock: a time that was read before a checkpoint and is written
// after the restart would otherwise pass for the first one.
static void note_lap(struct board* board) {
  uint64_t since = atomic_load(&board->waiting_since);
  uint64_t now = clock_ns(CLOCK_REALTIME);
  atomic_store_explicit(&board->last_lap, now, memory_order_relaxed);
  if (since != 0 && now > since && atomic_load(&board->first_lap) < since) {
    atomic_store(&board->first_lap, now);
  }
}

static void* spin(void* argument) {
  struct board* board = argument;
  uint64_t start = clock_ns(CLOCK_MONOTONIC);
  for (uint64_t last = start, now; last - start < lifetime_ns; last = now) {
    now = clock_ns(CLOCK_MONOTONIC);
    note_gap(board, now - last);
    note_lap(board);
  }
  kill(0, SIGKILL);
  return NULL;
}

static _Noreturn void* wait_for_questions(void* argument) {
  struct question* question = argument;
  pthread_mutex_lock(&question->mutex);
  atomic_fetch_add(&question->board->ready, 1);
  for (uint64_t seen = 0;; seen = question->number) {
    while (question->number == seen) pthread_cond_wait(&question->asked, &question->mutex);
    atomic_fetch_add(&question->board->answered, 1);
  }
}

static void start_thread(void* (*body)(void*), void* argument) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, waiter_stack);
  pthread_t thread;
  errno = pthread_create(&thread, &attributes, body, argument);
  if (errno != 0) die("pthread_create");
  pthread_attr_destroy(&attributes);
}

static void fill(struct self* self) {
  const struct plan* plan = self->plan;
  self->random = plan->random_bytes ? map_words(plan->random_bytes) : NULL;
  self->zeros = plan->zero_bytes ? map_words(plan->zero_bytes) : NULL;
  fill_random(self->random, plan->random_bytes, (uint64_t)self->index + 1);
  fill_zeros(self->zeros, plan->zero_bytes);
}

static bool intact(const struct self* self) {
  const struct plan* plan = self->plan;
  return is_random(self->random, plan->random_bytes, (uint64_t)self->index + 1) &&
         is_zeros(self->zeros, plan->zero_bytes);
}

static void answer(const struct self* self) {
  if (!intact(self)) atomic_fetch_add(&self->plan->board->wrong, 1);
  atomic_fetch_add(&self->plan->board->answered, 1);
}

static void time_fork(const struct self* self) {
  uint64_t start = clock_ns(CLOCK_MONOTONIC);
  pid_t child = fork();
  if (child == 0) _exit(0);
  uint64_t end = clock_ns(CLOCK_MONOTONIC);
  if (child < 0) die("fork");
  waitpid(child, NULL, 0);
  atomic_fetch_add(&self->plan->board->fork_ns, end - start);
  atomic_fetch_add(&self->plan->board->forked, 1);
}

static void pass_on(const struct self* self, int signal) {
  for (int i = 0; i < max_children; i++) {
    if (self->children[i] > 0) kill(self->children[i], signal);
  }
}

static void ask_threads(struct question* question) {
  pthread_mutex_lock(&question->mutex);
  question->number++;
  pthread_cond_broadcast(&question->asked);
  pthread_mutex_unlock(&question->mutex);
}

static _Noreturn void serve(const struct self* self, const sigset_t* signals,
                            struct question* question) {
  atomic_fetch_add(&self->plan->board->ready, 1);
  for (;;) {
    int signal = sigwaitinfo(signals, NULL);
    if (signal < 0) continue;
    pass_on(self, signal);
    if (signal == SIGUSR1 && question) ask_threads(question);
    if (signal == SIGUSR1) answer(self);
    if (signal == SIGUSR2) time_fork(self);
  }
}

// Returns in every process of the tree, with its place in it.
static struct self grow_tree(const struct plan* plan, long index) {
  struct self self = {.plan = plan, .index = index};
  for (int i = 0; i < max_children; i++) {
    long child = 2 * index + 1 + i;
    if (child >= plan->processes) break;
    self.children[i] = fork();
    if (self.children[i] < 0) die("fork");
    if (self.children[i] == 0) return grow_tree(plan, child);
  }
  return self;
}

static void start_threads(const struct plan* plan, struct question* question) {
  pthread_mutex_init(&question->mutex, NULL);
  pthread_cond_init(&question->asked, NULL);
  question->board = plan->board;
  for (long i = 2; i < plan->threads; i++) start_thread(wait_for_questions, question);
  start_thread(spin, plan->board);
}

static struct board* map_board(const char* path) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) die(path);
  void* board = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (board == MAP_FAILED) die("mmap of the board");
  close(fd);
  return board;
}

static struct plan parse(int argc, char** argv) {
  struct plan plan = {.threads = 2, .processes = 1};
  if (argc < 2 || argc % 2 != 0) {
    fputs("usage: workload BOARD [--random|--zeros|--threads|--processes NUMBER]...\n", stderr);
    exit(2);
  }
  plan.board = map_board(argv[1]);
  for (int i = 2; i < argc; i += 2) {
    long number = atol(argv[i + 1]);
    if (!strcmp(argv[i], "--random")) plan.random_bytes = (size_t)number;
    if (!strcmp(argv[i], "--zeros")) plan.zero_bytes = (size_t)number;
    if (!strcmp(argv[i], "--threads")) plan.threads = number;
    if (!strcmp(argv[i], "--processes")) plan.processes = number;
  }
  return plan;
}

int main(int argc, char** argv) {
  struct plan plan = parse(argc, argv);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  sigaddset(&signals, SIGUSR2);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  struct self self = grow_tree(&plan, 0);
  fill(&self);
  if (self.index != 0) serve(&self, &signals, NULL);
  struct question question = {0};
  start_threads(&plan, &question);
  serve(&self, &signals, &question);
}
