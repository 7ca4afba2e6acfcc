/* The unusual parts of an address space: a 1 TiB reservation with islands, locked pages, a main
 * stack that grows after every hold, guard regions (MADV_GUARD_INSTALL), sealed areas (mseal), a
 * low address. */
#include <sys/syscall.h>

#include "memory.h"

enum {
  kGuardInstall = 102,
  kGuardRemove = 103,
  kMseal = 462,
  kLockedPages = 8,
  kDeepest = 6 << 20
};

static const size_t kReservation = 1ull << 40, kIslandStep = 77ull << 30;
static unsigned char* const kLowAddress = (unsigned char*)0x110000;
static unsigned char *reserved, *locked, *on_fault, *guarded, *sealed;
static int has_guard, has_seal;

static void set_up(void) {
  reserved =
      MUST(mmap(NULL, kReservation, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  for (size_t at = kPage; at < kReservation; at += kIslandStep) {
    MUST(mprotect(reserved + at, 3 * kPage, kReadWrite));
    fill(reserved + at, 2 * kPage, (unsigned)(at >> 30));
  }
  locked = map_anonymous(kLockedPages), on_fault = map_anonymous(2 * kLockedPages);
  fill(locked, kLockedPages * kPage, 1);
  MUST(mlock(locked, kLockedPages * kPage));
  MUST(mlock2(on_fault, 2 * kLockedPages * kPage, MLOCK_ONFAULT));
  fill(on_fault, 3 * kPage, 2);
  guarded = map_anonymous(16);
  fill(guarded, 16 * kPage, 3);
  has_guard = madvise(page(guarded, 5), 2 * kPage, kGuardInstall) == 0;
  if (!has_guard) fprintf(stderr, "skipped: no guard regions, %s\n", strerror(errno));
  sealed = map_anonymous(6);
  fill(sealed, 3 * kPage, 4);
  MUST(mprotect(sealed, kPage, PROT_READ));
  has_seal = syscall(kMseal, sealed, 3 * kPage, 0) == 0;
  if (!has_seal) fprintf(stderr, "skipped: no sealed areas, %s\n", strerror(errno));
  MUST(mmap(kLowAddress, kPage, kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
            0));
  fill(kLowAddress, kPage, 5);
}

static void check_reservation(void) {
  for (size_t at = kPage; at < kReservation; at += kIslandStep) {
    check_filled(reserved + at, 2 * kPage, (unsigned)(at >> 30), "island");
    check_zeros(reserved + at + 2 * kPage, kPage, "island, untouched page");
    CHECK_EQ(touch(reserved + at - 1), EFAULT);
    CHECK_EQ(touch(reserved + at + 3 * kPage), EFAULT);
  }
  CHECK(area_has(reserved, "nr"), "expected MAP_NORESERVE");
}

static void check_locked(void) {
  check_filled(locked, kLockedPages * kPage, 1, "locked");
  check_filled(on_fault, 3 * kPage, 2, "locked on fault");
  check_zeros(page(on_fault, 3), kPage, "locked on fault, new");
  CHECK(area_has(locked, "lo") && area_has(on_fault, "lo"), "expected locked areas");
  unsigned char resident[kLockedPages];
  MUST(mincore(locked, kLockedPages * kPage, resident));
  for (int i = 0; i < kLockedPages; ++i)
    CHECK(resident[i] & 1, "expected page %d to be resident", i);
}

/* The guard faults, its neighbours have their content; once taken away there are zeros. */
static void check_guarded(void) {
  if (!has_guard) return;
  CHECK_EQ(touch(page(guarded, 5)), EFAULT), CHECK_EQ(touch(page(guarded, 7) - 1), EFAULT);
  check_part(guarded, 0, 5 * kPage, 3, "before the guard");
  check_part(guarded, 7 * kPage, 16 * kPage, 3, "after the guard");
  MUST(madvise(page(guarded, 5), kPage, kGuardRemove));
  check_zeros(page(guarded, 5), kPage, "where the guard was");
  MUST(madvise(page(guarded, 5), kPage, kGuardInstall));
}

static void check_sealed(void) {
  check_filled(sealed, 3 * kPage, 4, "sealed");
  check_zeros(page(sealed, 3), 3 * kPage, "beside the sealed");
  if (!has_seal) return;
  MUST_FAIL(munmap(sealed, kPage), EPERM);
  MUST_FAIL(mprotect(page(sealed, 1), kPage, PROT_READ), EPERM);
  MUST(mprotect(page(sealed, 3), kPage, PROT_READ)),
      MUST(mprotect(page(sealed, 3), kPage, kReadWrite));
}

/* Uses `depth` bytes of stack, and finds them as written when it comes back. */
__attribute__((noinline)) static unsigned descend(size_t depth, unsigned seed) {
  volatile unsigned char frame[3000];
  for (size_t i = 0; i < sizeof frame; i += 50) frame[i] = pattern_byte(seed, i);
  unsigned frames = depth > sizeof frame ? descend(depth - sizeof frame, seed + 1) : 0;
  for (size_t i = 0; i < sizeof frame; i += 50) CHECK_EQ(frame[i], pattern_byte(seed, i));
  return frames + 1;
}

int main(int argc, char** argv) {
  set_up();
  say("ready");
  size_t depth = 300000;
  for (long long end = end_time(argc, argv); time_left(end);) {
    check_reservation();
    check_locked();
    check_guarded();
    check_sealed();
    check_filled(kLowAddress, kPage, 5, "low address");
    CHECK(descend(depth, 1) >= depth / 3001, "expected %zu bytes of frames", depth);
    if (depth < kDeepest) depth += 60000; /* grows for about a second, then stays */
  }
  say("ok");
  return 0;
}
