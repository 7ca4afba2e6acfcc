/* Memory that has to be zero when it comes back or comes anew, after it had content for --hold-ms
 * (60): MADV_DONTNEED, MADV_FREE, growth by mremap and brk, shrinking and growing again, holes
 * punched into shared memory, and a private file page, which comes back as the file has it. */
#include <sys/syscall.h>

#include "memory.h"

enum { kPages = 32 };

static unsigned char *dropped, *freed, *grown, *shared, *file_pages, *hidden;
static unsigned char* heap;

/* The raw call: the C library's malloc has its own idea of the break and is not used here. */
static unsigned char* set_break(unsigned char* to) {
  return (unsigned char*)(unsigned long)syscall(SYS_brk, to);
}

static void set_up(const char* path) {
  unsigned char bytes[kPage];
  dropped = map_anonymous(kPages), freed = map_anonymous(kPages), grown = map_anonymous(kPages);
  hidden = map_anonymous(kPages);
  shared = map(kPages, kReadWrite, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
  fill(bytes, kPage, 9);
  for (int i = 0; i < kPages; ++i) write_all(fd, bytes, kPage);
  file_pages = map(kPages, kReadWrite, MAP_PRIVATE, fd, 0);
  MUST(close(fd));
  heap = (unsigned char*)(((unsigned long)set_break(NULL) + kPage - 1) / kPage * kPage);
}

static void fill_round(unsigned round) {
  unsigned char* const kFilled[] = {dropped, freed, grown, shared, file_pages, hidden};
  for (unsigned i = 0; i < 6; ++i) fill(kFilled[i], kPages * kPage, round + i);
  MUST(mprotect(hidden, kPages * kPage, PROT_NONE));
  CHECK(set_break(heap + 8 * kPage) == heap + 8 * kPage, "expected the break to move");
  fill(heap, 8 * kPage, round);
}

static void check_held(unsigned round) {
  check_filled(dropped, kPages * kPage, round, "to be dropped");
  check_filled(freed, kPages * kPage, round + 1, "to be freed");
  check_filled(grown, kPages * kPage, round + 2, "to grow");
  check_filled(shared, kPages * kPage, round + 3, "shared");
  check_filled(file_pages, kPages * kPage, round + 4, "private pages of a file");
  check_filled(heap, 8 * kPage, round, "heap");
}

static void check_dropped(unsigned round) {
  MUST(madvise(page(dropped, 4), 8 * kPage, MADV_DONTNEED));
  check_zeros(page(dropped, 4), 8 * kPage, "after MADV_DONTNEED");
  check_part(dropped, 0, 4 * kPage, round, "before the dropped");
  check_part(dropped, 12 * kPage, kPages * kPage, round, "after the dropped");
  MUST(madvise(hidden, kPages * kPage, MADV_DONTNEED));
  MUST(mprotect(hidden, kPages * kPage, kReadWrite));
  check_zeros(hidden, kPages * kPage, "dropped while hidden");
  MUST(madvise(page(file_pages, 3), 2 * kPage, MADV_DONTNEED));
  check_filled(page(file_pages, 3), kPage, 9, "page of a file after MADV_DONTNEED");
  check_filled(page(file_pages, 4), kPage, 9, "page of a file after MADV_DONTNEED");
  MUST(madvise(page(shared, 7), 2 * kPage, MADV_REMOVE));
  check_zeros(page(shared, 7), 2 * kPage, "hole in shared memory");
  check_part(shared, 9 * kPage, kPages * kPage, round + 3, "after the hole");
}

/* A page that was freed lazily has its old content or zeros, wholly the one or the other. */
static void check_freed(unsigned round) {
  MUST(madvise(freed, kPages * kPage, MADV_FREE));
  nap_ms(5);
  for (size_t i = 0; i < kPages; ++i) {
    unsigned char* it = page(freed, i);
    if (it[0] == pattern_byte(round + 1, i * kPage) &&
        it[1] == pattern_byte(round + 1, i * kPage + 1))
      check_part(freed, i * kPage, (i + 1) * kPage, round + 1, "freed, still there");
    else
      check_zeros(it, kPage, "freed");
  }
}

/* Grows where it stands or moves; what is new is zero. Then it shrinks to its first size. */
static void check_grown(unsigned round) {
  grown = MUST(mremap(grown, kPages * kPage, 3 * kPages * kPage, MREMAP_MAYMOVE));
  check_filled(grown, kPages * kPage, round + 2, "grown, old part");
  check_zeros(page(grown, kPages), 2 * kPages * kPage, "grown, new part");
  fill(page(grown, kPages), 2 * kPages * kPage, round);
  grown = MUST(mremap(grown, 3 * kPages * kPage, kPages * kPage, 0));
}

static void check_break(unsigned round) {
  CHECK(set_break(heap + 20 * kPage) == heap + 20 * kPage, "expected the break to move");
  check_filled(heap, 8 * kPage, round, "heap, old part");
  check_zeros(heap + 8 * kPage, 12 * kPage, "heap, new part");
  fill(heap + 8 * kPage, 12 * kPage, round);
  CHECK(set_break(heap + 2 * kPage) == heap + 2 * kPage, "expected the break to move back");
  CHECK(set_break(heap + 20 * kPage) == heap + 20 * kPage, "expected the break to move again");
  check_filled(heap, 2 * kPage, round, "heap, kept part");
  check_zeros(heap + 2 * kPage, 18 * kPage, "heap, given back and taken again");
}

int main(int argc, char** argv) {
  const char* directory = temporary_directory();
  const char* path = in_directory(directory, "file");
  setvbuf(stdout, NULL, _IONBF, 0); /* no buffer from the heap, whose break moves */
  set_up(path);
  say("ready");
  long long end = end_time(argc, argv), hold_ms = (long long)option(argc, argv, "--hold-ms", 60);
  for (unsigned round = 0; now_ns() < end; ++round) {
    fill_round(round);
    nap_ms(hold_ms);
    check_held(round);
    check_dropped(round);
    check_freed(round);
    check_grown(round);
    check_break(round);
  }
  MUST(unlink(path)), MUST(rmdir(directory));
  say("ok");
  return 0;
}
