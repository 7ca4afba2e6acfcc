/* Private anonymous memory: dense and sparse, of every protection (with content that is out of
 * reach for now), with code in it, with huge pages asked for or refused, and copied on write after
 * a fork. */
#include "memory.h"

enum { kDense = 1024, kSparse = 65536, kIsland = 997, kHuge = 2048, kChildPages = 64 };

static const int kRights[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};

struct Areas {
  unsigned char *dense, *sparse, *rights, *code, *huge, *small, *copied;
};

/* mov $number, %eax; ret */
static void write_code(unsigned char* at, int number) {
  at[0] = 0xb8, at[5] = 0xc3;
  memcpy(at + 1, &number, sizeof number);
}

static int call_code(unsigned char* at) {
  int (*function)(void);
  memcpy(&function, &at, sizeof at);
  return function();
}

static struct Areas set_up(void) {
  struct Areas it = {map_anonymous(kDense),     map_anonymous(kSparse), map_anonymous(40),
                     map_anonymous(2),          map_anonymous(kHuge),   map_anonymous(kHuge),
                     map_anonymous(kChildPages)};
  fill(it.dense, kDense * kPage, 1);
  for (size_t i = 0; i < kSparse; i += kIsland) fill(page(it.sparse, i), 100, (unsigned)i);
  fill(it.rights, 40 * kPage, 2);
  for (size_t i = 0; i < 40; ++i) MUST(mprotect(page(it.rights, i), kPage, kRights[i % 4]));
  write_code(it.code, 4711), write_code(it.code + kPage, 4712);
  MUST(mprotect(it.code, 2 * kPage, PROT_READ | PROT_EXEC));
  if (madvise(it.huge, kHuge * kPage, MADV_HUGEPAGE) != 0)
    fprintf(stderr, "skipped: no huge pages, %s\n", strerror(errno));
  MUST(madvise(it.small, kHuge * kPage, MADV_NOHUGEPAGE));
  fill(it.huge, kHuge * kPage, 3), fill(it.small, 100 * kPage, 4);
  fill(it.copied, kChildPages * kPage, 5);
  return it;
}

/* Every page of the area has the rights it was given, and behind PROT_NONE its content. */
static void check_rights(unsigned char* area, unsigned round) {
  for (size_t i = 0; i < 40; ++i) {
    CHECK_EQ(area_has(page(area, i), "rd"), i % 4 != 0);
    CHECK_EQ(area_has(page(area, i), "wr"), i % 4 == 2);
    CHECK_EQ(area_has(page(area, i), "ex"), i % 4 == 3);
    if (i % 4) check_part(area, i * kPage, (i + 1) * kPage, 2, "protected page");
  }
  size_t hidden = round % 10 * 4;
  CHECK_EQ(touch(page(area, hidden)), EFAULT);
  MUST(mprotect(page(area, hidden), kPage, PROT_READ));
  check_part(area, hidden * kPage, (hidden + 1) * kPage, 2, "hidden page");
  MUST(mprotect(page(area, hidden), kPage, PROT_NONE));
}

static void check_sparse(unsigned char* area) {
  for (size_t i = 0; i < kSparse; i += kIsland) {
    check_filled(page(area, i), 100, (unsigned)i, "island");
    check_zeros(page(area, i) + 100, kPage - 100, "rest of an island");
    check_zeros(page(area, i + 1), 8, "between the islands");
  }
}

static void check_all(struct Areas* it, unsigned round, int huge) {
  check_filled(it->dense, kDense * kPage, 1, "dense");
  check_sparse(it->sparse);
  check_rights(it->rights, round);
  CHECK_EQ(call_code(it->code), 4711), CHECK_EQ(call_code(it->code + kPage), 4712);
  CHECK_EQ(area_has(it->huge, "hg"), huge), CHECK_EQ(area_has(it->small, "nh"), 1);
  check_filled(it->huge, kHuge * kPage, 3, "huge pages");
  check_filled(it->small, 100 * kPage, 4, "small pages");
  check_zeros(page(it->small, 100), 100 * kPage, "small pages, untouched");
}

/* The child changed every third page; the others it shares with the parent, unseen by either. */
static void check_copied(unsigned char* area, int is_child) {
  for (size_t i = 0; i < kChildPages; ++i)
    if (is_child && i % 3 == 0)
      check_part(area, i * kPage, (i + 1) * kPage, 6, "changed by the child");
    else
      check_part(area, i * kPage, (i + 1) * kPage, 5, "copied on write");
}

static void child(struct Areas* it, long long end) {
  unsigned char other[kPage * 2];
  for (size_t i = 0; i < kChildPages; i += 3) {
    for (size_t at = 0; at < kPage; ++at) other[at] = pattern_byte(6, i * kPage + at);
    memcpy(page(it->copied, i), other, kPage);
  }
  while (time_left(end)) check_copied(it->copied, 1), check_sparse(it->sparse);
  _exit(0);
}

int main(int argc, char** argv) {
  long long end = end_time(argc, argv);
  struct Areas it = set_up();
  int huge = area_has(it.huge, "hg");
  pid_t pid = MUST(fork());
  if (pid == 0) child(&it, end);
  say("ready");
  for (unsigned round = 0; time_left(end); ++round) {
    check_all(&it, round, huge);
    check_copied(it.copied, 0);
  }
  reap(pid, 0);
  say("ok");
  return 0;
}
