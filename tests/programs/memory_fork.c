/* Areas that a fork treats differently: MADV_DONTFORK, MADV_WIPEONFORK; and MADV_DONTDUMP. Their
 * content stays with the parent all the time; children forked at any later moment do not have it.
 */
#include "memory.h"

enum { kPages = 16 };

static unsigned char *not_forked, *wiped, *not_dumped, *ordinary, *shared_not_forked;

static void set_up(void) {
  unsigned char** const kAreas[] = {&not_forked, &wiped, &not_dumped, &ordinary};
  for (unsigned i = 0; i < 4; ++i) {
    *kAreas[i] = map_anonymous(kPages);
    fill(*kAreas[i], kPages * kPage, i);
  }
  shared_not_forked = map(kPages, kReadWrite, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  fill(shared_not_forked, kPages * kPage, 4);
  MUST(madvise(not_forked, kPages * kPage, MADV_DONTFORK));
  MUST(madvise(shared_not_forked, kPages * kPage, MADV_DONTFORK));
  MUST(madvise(page(wiped, 4), 8 * kPage, MADV_WIPEONFORK));
  MUST(madvise(not_dumped, kPages * kPage, MADV_DONTDUMP));
}

static void check_flags(void) {
  CHECK_EQ(area_has(page(wiped, 4), "wf"), 1);
  CHECK_EQ(area_has(page(wiped, 3), "wf"), 0);
  CHECK_EQ(area_has(not_dumped, "dd"), 1);
  CHECK_EQ(area_has(ordinary, "dd") || area_has(ordinary, "dc") || area_has(ordinary, "wf"), 0);
}

static void check_parent(void) {
  check_filled(not_forked, kPages * kPage, 0, "not forked");
  check_filled(wiped, kPages * kPage, 1, "wiped on fork");
  check_filled(not_dumped, kPages * kPage, 2, "not dumped");
  check_filled(ordinary, kPages * kPage, 3, "ordinary");
  check_filled(shared_not_forked, kPages * kPage, 4, "shared, not forked");
  CHECK_EQ(area_has(not_forked, "dc"), 1);
  CHECK_EQ(area_has(shared_not_forked, "dc"), 1);
  check_flags();
}

/* Lives for `ms`, so that it is itself there at a checkpoint. */
static void child(long long ms) {
  for (long long until = now_ns() + ms * MILLISECOND;;) {
    CHECK_EQ(touch(not_forked), EFAULT);
    CHECK_EQ(touch(shared_not_forked), EFAULT);
    check_part(wiped, 0, 4 * kPage, 1, "child, before the wiped");
    check_zeros(page(wiped, 4), 8 * kPage, "child, wiped");
    check_part(wiped, 12 * kPage, kPages * kPage, 1, "child, after the wiped");
    check_filled(not_dumped, kPages * kPage, 2, "child, not dumped");
    check_filled(ordinary, kPages * kPage, 3, "child, ordinary");
    check_flags();
    if (!time_left(until)) _exit(0);
  }
}

int main(int argc, char** argv) {
  set_up();
  say("ready");
  long long end = end_time(argc, argv), child_ms = (long long)option(argc, argv, "--child-ms", 60);
  while (now_ns() < end) {
    check_parent();
    pid_t pid = MUST(fork());
    if (pid == 0) child(child_ms);
    nap_ms(child_ms / 2);
    check_parent();
    reap(pid, 0);
  }
  say("ok");
  return 0;
}
