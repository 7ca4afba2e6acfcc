/* The three ways in which a program makes a system call: by the C library, by an instruction of its
 * own, by code that it generates at run time. Each returns what the kernel does: -errno for an
 * error. */
#ifndef TESTS_PROGRAMS_CALLERS_H_
#define TESTS_PROGRAMS_CALLERS_H_

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "check.h"

typedef long (*caller)(long number, long a, long b, long c, long d, long e, long f);

static inline long by_library(long number, long a, long b, long c, long d, long e, long f) {
  long result = syscall(number, a, b, c, d, e, f);
  return result == -1 ? -errno : result;
}

static inline long by_instruction(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  __asm__ volatile(
      "mov %5, %%r10\n\t"
      "mov %6, %%r8\n\t"
      "mov %7, %%r9\n\t"
      "syscall"
      : "=a"(result)
      : "0"(number), "D"(a), "S"(b), "d"(c), "m"(d), "m"(e), "m"(f)
      : "rcx", "r11", "r10", "r8", "r9", "memory");
  return result;
}

/* Of this function, but elsewhere. */
static inline void* generated_code(const void* code, size_t size) {
  void* place = MUST(
      mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  return memcpy(place, code, size);
}

/* mov %rdi,%rax; mov %rsi,%rdi; mov %rdx,%rsi; mov %rcx,%rdx; mov %r8,%r10; mov %r9,%r8;
 * mov 8(%rsp),%r9; syscall; ret */
static inline caller generated(void) {
  static const unsigned char code[] = {0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6,
                                       0x48, 0x89, 0xca, 0x4d, 0x89, 0xc2, 0x4d, 0x89, 0xc8,
                                       0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05, 0xc3};
  void* place = generated_code(code, sizeof code);
  caller function;
  memcpy(&function, &place, sizeof function);
  return function;
}

#endif /* TESTS_PROGRAMS_CALLERS_H_ */
