/* Computes, allocates and synchronises threads with nothing but the C library: built statically
 * with glibc and with musl. The amount of work, and so the output, depends on --seconds alone. */
#include <pthread.h>
#include <stdint.h>

#include "check.h"

/* A step takes about 0.1 s; musl's malloc serves several threads more slowly. */
#ifdef __GLIBC__
enum { kThreads = 4, kBlocks = 512, kRoundsPerStep = 120000 };
#else
enum { kThreads = 4, kBlocks = 512, kRoundsPerStep = 25000 };
#endif

struct Worker {
  pthread_t thread;
  unsigned number;
  uint64_t state, sum;
};

static pthread_barrier_t step_begins, step_ends;
static pthread_mutex_t total_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t total; /* additions commute: no order of the threads can be seen in it */
static int steps;
static _Thread_local uint64_t drawn;

static uint64_t draw(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  ++drawn;
  return *state;
}

/* Replaces blocks of many sizes by others, and checks each block before it is freed. */
static void churn(struct Worker* worker, unsigned char** blocks, size_t* sizes) {
  for (int i = 0; i < kRoundsPerStep; ++i) {
    uint64_t random = draw(&worker->state);
    size_t slot = random % kBlocks;
    unsigned char mark = (unsigned char)(slot ^ sizes[slot]);
    if (blocks[slot])
      for (size_t at = 0; at < sizes[slot]; at += 61)
        CHECK(blocks[slot][at] == mark, "block %zu byte %zu: expected %#x, saw %#x", slot, at, mark,
              blocks[slot][at]);
    free(blocks[slot]);
    sizes[slot] = 1 + (size_t)(random >> 32) % (random % 97 == 0 ? 300000 : 2000);
    blocks[slot] = malloc(sizes[slot]);
    CHECK(blocks[slot] != NULL, "expected %zu bytes, saw %s", sizes[slot], strerror(errno));
    memset(blocks[slot], (int)(slot ^ sizes[slot]), sizes[slot]);
    worker->sum = worker->sum * 31 + sizes[slot];
  }
}

static void* work(void* argument) {
  struct Worker* worker = argument;
  unsigned char* blocks[kBlocks] = {0};
  size_t sizes[kBlocks] = {0};
  for (int step = 0; step < steps; ++step) {
    pthread_barrier_wait(&step_begins);
    churn(worker, blocks, sizes);
    CHECK_EQ(drawn, (step + 1) * (long long)kRoundsPerStep);
    ZERO(pthread_mutex_lock(&total_mutex));
    total += worker->sum;
    ZERO(pthread_mutex_unlock(&total_mutex));
    pthread_barrier_wait(&step_ends);
  }
  for (int i = 0; i < kBlocks; ++i) free(blocks[i]);
  return worker;
}

int main(int argc, char** argv) {
  steps = (int)(option(argc, argv, "--seconds", 3) * 10) + 1;
  struct Worker workers[kThreads];
  ZERO(pthread_barrier_init(&step_begins, NULL, kThreads + 1));
  ZERO(pthread_barrier_init(&step_ends, NULL, kThreads + 1));
  for (unsigned i = 0; i < kThreads; ++i) {
    workers[i] = (struct Worker){.number = i, .state = 88172645463325252ull + i, .sum = i};
    ZERO(pthread_create(&workers[i].thread, NULL, work, &workers[i]));
  }
  say("ready");
  for (int step = 0; step < steps; ++step) {
    pthread_barrier_wait(&step_begins);
    pthread_barrier_wait(&step_ends);
    printf("step %d: %016llx\n", step, (unsigned long long)total);
    fflush(stdout);
  }
  for (int i = 0; i < kThreads; ++i) {
    void* result = NULL;
    ZERO(pthread_join(workers[i].thread, &result));
    CHECK(result == &workers[i], "thread %d: expected its own result", i);
  }
  say("ok");
  return 0;
}
