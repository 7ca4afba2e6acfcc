/* Threads keep known values in every register that the CPU has, spin in user code, and compare all
 * bit for bit: general registers with the red zone, flags, GS base, x87, SSE and MXCSR, AVX,
 * AVX-512 with masks, AMX tiles, PKRU. Sets that the CPU lacks are named on stderr and skipped. */
#include <asm/prctl.h>
#include <cpuid.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "check.h"

enum { kLargest = 64 + 8 * 1024, kFlags = 0x40400, kAmxTileData = 18, kRequestPermission = 0x1023 };

volatile int registers_stop; /* read by the loops of registers_spin.S */
static pthread_barrier_t round_begins, round_ends;
static bool over;

void spin_general(void* pattern, void* seen);
void spin_x87(void* pattern, void* seen);
void spin_sse(void* pattern, void* seen);
void spin_avx(void* pattern, void* seen);
void spin_avx512(void* pattern, void* seen);
void spin_amx(void* pattern, void* seen);
void spin_pkru(void* pattern, void* seen);

struct RegisterSet {
  const char* name;
  size_t size; /* bytes of pattern and of seen that have to be equal */
  void (*spin)(void* pattern, void* seen);
  bool (*available)(void);
  void (*make_valid)(unsigned char* pattern); /* not every pattern is a legal register value */
};

static bool always(void) { return true; }

/* Has the CPU this bit in leaf 7, and has the kernel enabled these parts of the state? */
static bool has(char reg, int bit, uint64_t state) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0, low, high;
  __get_cpuid(1, &eax, &ebx, &ecx, &edx);
  if (!(ecx & bit_OSXSAVE)) return false;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((((uint64_t)high << 32 | low) & state) != state) return false;
  __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
  return (reg == 'b' ? ebx : reg == 'c' ? ecx : edx) >> bit & 1;
}

static bool has_avx(void) { return has('b', 5, 0x6); }      /* AVX2 */
static bool has_avx512(void) { return has('b', 30, 0xe6); } /* AVX512BW */
static bool has_pkru(void) { return has('c', 4, 0x200); }   /* OSPKE */

/* AMX needs a permission, once per process and before its threads use it. */
static bool has_amx(void) {
  return has('d', 24, 0x60000) && syscall(SYS_arch_prctl, kRequestPermission, kAmxTileData) == 0;
}

static void keep_as_is(unsigned char* pattern) { (void)pattern; }

static void make_flags(unsigned char* pattern) { memset(pattern + 15 * 8, 0, 8); }

/* Normal numbers in all but the last, which is a NaN; all exceptions masked, any rounding. */
static void make_x87(unsigned char* pattern) {
  for (int i = 0; i < 8; ++i) {
    pattern[16 * i + 7] |= 0x80;
    pattern[16 * i + 9] = (unsigned char)((pattern[16 * i + 9] & 0x80) | (i == 7 ? 0x7f : 0x3e));
    if (i == 7) pattern[16 * i + 8] = 0xff;
    memset(pattern + 16 * i + 10, 0, 6);
  }
  pattern[128] = 0x7f;
  pattern[129] &= 0x0f;
}

static void make_mxcsr(unsigned char* pattern) { memset(pattern + 258, 0, 2); }

static void make_tiles(unsigned char* pattern) {
  memset(pattern, 0, 64);
  pattern[0] = 1; /* palette */
  for (int tile = 0; tile < 8; ++tile) {
    pattern[16 + 2 * tile] = 64;
    pattern[48 + tile] = 16;
  }
}

/* Key 0, that of all ordinary memory, stays allowed. */
static void make_pkru(unsigned char* pattern) { pattern[0] &= 0xfc; }

static const struct RegisterSet kSets[] = {
    {"general", 256, spin_general, always, make_flags},
    {"x87", 132, spin_x87, always, make_x87},
    {"sse", 260, spin_sse, always, make_mxcsr},
    {"avx", 16 * 32, spin_avx, has_avx, keep_as_is},
    {"avx512", 32 * 64 + 8 * 8, spin_avx512, has_avx512, keep_as_is},
    {"amx", 64 + 8 * 1024, spin_amx, has_amx, make_tiles},
    {"pkru", 4, spin_pkru, has_pkru, make_pkru},
};

/* The arithmetic flags are the loop's own; DF and AC were set before it. */
static void take_flags(unsigned char* seen) {
  uint64_t flags;
  memcpy(&flags, seen + 15 * 8, 8);
  CHECK_EQ(flags & kFlags, kFlags);
  memset(seen + 15 * 8, 0, 8);
}

static void* keep(void* argument) {
  const struct RegisterSet* set = argument;
  static _Thread_local unsigned char pattern[kLargest] __attribute__((aligned(64)));
  static _Thread_local unsigned char seen[kLargest] __attribute__((aligned(64)));
  for (unsigned round = 1;; ++round) {
    unsigned long gs_base = 0x1000ul * round + set->size, gs_seen = 0;
    fill(pattern, set->size, round);
    set->make_valid(pattern);
    memset(seen, 0, sizeof seen);
    MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, gs_base));
    pthread_barrier_wait(&round_begins);
    if (over) return NULL;
    set->spin(pattern, seen);
    MUST(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs_seen));
    CHECK_EQ(gs_seen, gs_base);
    if (set->spin == spin_general) take_flags(seen);
    for (size_t i = 0; i < set->size; ++i)
      CHECK(seen[i] == pattern[i], "%s round %u byte %zu: expected %#x, saw %#x", set->name, round,
            i, pattern[i], seen[i]);
    pthread_barrier_wait(&round_ends);
  }
}

int main(int argc, char** argv) {
  enum { kCount = sizeof kSets / sizeof kSets[0] };
  const struct RegisterSet* used[kCount];
  unsigned count = 0;
  for (int i = 0; i < kCount; ++i)
    if (kSets[i].available())
      used[count++] = &kSets[i];
    else
      fprintf(stderr, "skipped: this CPU or kernel has no %s\n", kSets[i].name);

  pthread_t threads[kCount];
  ZERO(pthread_barrier_init(&round_begins, NULL, count + 1));
  ZERO(pthread_barrier_init(&round_ends, NULL, count + 1));
  for (unsigned i = 0; i < count; ++i)
    ZERO(pthread_create(&threads[i], NULL, keep, (void*)used[i]));
  say("ready");

  const long long end = end_time(argc, argv);
  const int round_ms = (int)option(argc, argv, "--round-ms", 100);
  while (!over) {
    registers_stop = 0;
    over = now_ns() >= end;
    pthread_barrier_wait(&round_begins);
    if (over) break;
    nap_ms(round_ms);
    registers_stop = 1;
    pthread_barrier_wait(&round_ends);
  }
  for (unsigned i = 0; i < count; ++i) ZERO(pthread_join(threads[i], NULL));
  say("ok");
  return 0;
}
