// Floors below which no checkpointer can be, and the warming up of memory.
//
//   floor memcpy BYTES     prints how long copying them once from memory to memory takes, in ns
//   floor warm BYTES       touches them: on a virtual machine the first touch of memory is slow
#include <string.h>
#include <time.h>

#include "memory.h"

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t time_memcpy(size_t bytes) {
  uint64_t* from = map_words(bytes);
  uint64_t* to = map_words(bytes);
  fill_random(from, bytes, 1);
  memset(to, 1, bytes);
  uint64_t start = now_ns();
  memcpy(to, from, bytes);
  uint64_t end = now_ns();
  if (!is_random(to, bytes, 1)) abort();  // and so it cannot be left out
  return end - start;
}

int main(int argc, char** argv) {
  size_t bytes = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
  if (bytes != 0 && !strcmp(argv[1], "memcpy")) {
    printf("%lu\n", time_memcpy(bytes));
    return 0;
  }
  if (bytes != 0 && !strcmp(argv[1], "warm")) {
    memset(map_words(bytes), 1, bytes);
    return 0;
  }
  fputs("usage: floor memcpy|warm BYTES\n", stderr);
  return 2;
}
