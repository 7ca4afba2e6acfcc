// Memory with contents that no compressor can make smaller and that can be checked without a copy.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

// xorshift64: the next word of a sequence that follows from its start alone. The start is not 0.
static inline uint64_t next_word(uint64_t word) {
  word ^= word << 13;
  word ^= word >> 7;
  return word ^ (word << 17);
}

static inline uint64_t* map_words(size_t bytes) {
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  return memory;
}

static inline void fill_random(uint64_t* words, size_t bytes, uint64_t start) {
  for (size_t i = 0; i < bytes / sizeof *words; i++) words[i] = start = next_word(start);
}

static inline bool is_random(const uint64_t* words, size_t bytes, uint64_t start) {
  for (size_t i = 0; i < bytes / sizeof *words; i++) {
    if (words[i] != (start = next_word(start))) return false;
  }
  return true;
}

// Writes, so that the pages exist: one that was only read would be the kernel's shared page of
// zeros.
static inline void fill_zeros(uint64_t* words, size_t bytes) {
  for (size_t i = 0; i < bytes / sizeof *words; i++) ((volatile uint64_t*)words)[i] = 0;
}

static inline bool is_zeros(const uint64_t* words, size_t bytes) {
  for (size_t i = 0; i < bytes / sizeof *words; i++) {
    if (words[i] != 0) return false;
  }
  return true;
}
