/* Mappings of files: private with pages written and not, with an offset, beyond the file's end,
 * read-only; shared, coherent with read and write; one file mapped many times. */
#include <sys/stat.h>

#include "memory.h"

enum { kPages = 64, kTail = 100 };

struct Maps {
  int fd, shared_fd;
  unsigned char* private, *later, *read_only, *shared, *shared_again, *hidden;
};

static int make_file(const char* path, unsigned seed) {
  int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
  unsigned char* bytes = map_anonymous(kPages);
  fill(bytes, (kPages - 1) * kPage + kTail, seed);
  write_all(fd, bytes, (kPages - 1) * kPage + kTail);
  MUST(munmap(bytes, kPages * kPage));
  return fd;
}

static struct Maps set_up(const char* directory) {
  struct Maps it;
  it.fd = make_file(in_directory(directory, "private"), 1);
  it.shared_fd = make_file(in_directory(directory, "shared"), 2);
  it.private = map(kPages, kReadWrite, MAP_PRIVATE, it.fd, 0);
  it.later = map(20, kReadWrite, MAP_PRIVATE, it.fd, kPages - 20);
  it.read_only = map(kPages, PROT_READ, MAP_PRIVATE, MUST(dup(it.fd)), 0);
  it.hidden = map(kPages, kReadWrite, MAP_PRIVATE, it.fd, 0);
  it.shared = map(kPages, kReadWrite, MAP_SHARED, it.shared_fd, 0);
  it.shared_again = map(10, PROT_READ, MAP_SHARED, it.shared_fd, 20);
  for (size_t i = 0; i < kPages; i += 3) fill(page(it.private, i), kPage / 2, (unsigned)i);
  page(it.later, 19)[kTail + 5] = 77; /* private bytes beyond the file's end */
  fill(page(it.hidden, 10), kPage, 3);
  MUST(mprotect(it.hidden, kPages * kPage, PROT_NONE));
  return it;
}

/* Each third page is half written, the other half and the other pages are the file's. */
static void check_private(struct Maps* it) {
  for (size_t i = 0; i < kPages; ++i) {
    size_t from = i * kPage, to = i == kPages - 1 ? from + kTail : from + kPage;
    if (i % 3 == 0) {
      check_filled(page(it->private, i), kPage / 2, (unsigned)i, "private page, written");
      from += kPage / 2;
    }
    if (from < to) check_part(it->private, from, to, 1, "private page, the file's");
  }
  check_part(it->read_only, 0, (kPages - 1) * kPage + kTail, 1, "read-only mapping");
  check_zeros(it->read_only + (kPages - 1) * kPage + kTail, kPage - kTail, "beyond the end");
  check_part(page(it->later, 0) - (kPages - 20) * kPage, (kPages - 20) * kPage,
             (kPages - 1) * kPage, 1, "mapping with an offset");
  CHECK_EQ(page(it->later, 19)[kTail + 5], 77);
}

/* The file itself never saw what was written to private pages. */
static void check_file(struct Maps* it, unsigned round) {
  unsigned char bytes[kPage];
  size_t at = round % (kPages - 1);
  CHECK_EQ(MUST(pread(it->fd, bytes, kPage, (off_t)at * kPage)), kPage);
  for (size_t i = 0; i < kPage; ++i) CHECK_EQ(bytes[i], pattern_byte(1, at * kPage + i));
}

static void check_hidden(struct Maps* it) {
  MUST(mprotect(it->hidden, kPages * kPage, PROT_READ));
  check_filled(page(it->hidden, 10), kPage, 3, "hidden page, written");
  check_part(it->hidden, 11 * kPage, 12 * kPage, 1, "hidden page, the file's");
  MUST(mprotect(it->hidden, kPages * kPage, PROT_NONE));
}

/* Written by the mapping, read by the file, and the other way round. */
static void check_shared(struct Maps* it, unsigned round) {
  unsigned seen = 0, other = round * 3 + 1;
  memcpy(page(it->shared, 25) + 8, &round, sizeof round);
  CHECK_EQ(MUST(pread(it->shared_fd, &seen, sizeof seen, 25 * kPage + 8)), sizeof seen);
  CHECK_EQ(seen, round);
  memcpy(&seen, page(it->shared_again, 5) + 8, sizeof seen);
  CHECK_EQ(seen, round);
  CHECK_EQ(MUST(pwrite(it->shared_fd, &other, sizeof other, 26 * kPage)), sizeof other);
  memcpy(&seen, page(it->shared, 26), sizeof seen);
  CHECK_EQ(seen, other);
  check_part(it->shared, 0, 25 * kPage, 2, "shared file");
  check_part(it->shared, 27 * kPage, (kPages - 1) * kPage + kTail, 2, "shared file");
  MUST(msync(it->shared, kPages * kPage, round % 16 ? MS_ASYNC : MS_SYNC));
}

static void check_round_before(struct Maps* it, unsigned round) {
  unsigned seen = 0;
  if (round == 0) return;
  memcpy(&seen, page(it->shared, 25) + 8, sizeof seen);
  CHECK_EQ(seen, round - 1);
  memcpy(&seen, page(it->shared, 26), sizeof seen);
  CHECK_EQ(seen, (round - 1) * 3 + 1);
}

int main(int argc, char** argv) {
  const char* directory = temporary_directory();
  struct Maps it = set_up(directory);
  say("ready");
  long long end = end_time(argc, argv);
  for (unsigned round = 0; time_left(end); ++round) {
    check_private(&it);
    check_file(&it, round);
    check_hidden(&it);
    check_round_before(&it, round);
    check_shared(&it, round);
  }
  MUST(unlink(in_directory(directory, "private"))), MUST(unlink(in_directory(directory, "shared")));
  MUST(rmdir(directory));
  say("ok");
  return 0;
}
