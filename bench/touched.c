// Counts what a checkpoint of processes has to contain: the pages that are theirs alone (not clean
// ones of a file) and hold anything but zeros.
//
//   touched PID...        prints "NONZERO ZERO", in pages, summed
//
// A page that several of them share after a fork counts for each.
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { page = 4096, chunk_pages = 1024 };

struct count {
  uint64_t nonzero;
  uint64_t zero;
};

static void die(const char* what) {
  perror(what);
  exit(1);
}

// See admin-guide/mm/pagemap.rst: bit 63 present, 62 swapped, 61 a file's page or shared.
static bool is_own(uint64_t entry) { return (entry >> 62) != 0 && !(entry >> 61 & 1); }

static bool is_zero(const char* bytes) {
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, page - 1) == 0;
}

static void count_chunk(pid_t pid, int pagemap, uint64_t start, size_t pages, struct count* count) {
  static uint64_t entries[chunk_pages];
  static char bytes[chunk_pages * page];
  size_t size = pages * sizeof *entries;
  if (pread(pagemap, entries, size, (off_t)(start / page * sizeof *entries)) != (ssize_t)size) {
    die("pagemap");
  }
  for (size_t i = 0; i < pages; i++) {
    if (!is_own(entries[i])) continue;
    struct iovec local = {bytes, page};
    struct iovec remote = {(void*)(start + i * page), page};  // NOLINT(performance-no-int-to-ptr)
    if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != page)
      continue;  // PROT_NONE and the like
    *(is_zero(bytes) ? &count->zero : &count->nonzero) += 1;
  }
}

static void count_area(pid_t pid, int pagemap, uint64_t start, uint64_t end, struct count* count) {
  for (uint64_t at = start; at < end; at += (uint64_t)chunk_pages * page) {
    uint64_t pages = (end - at) / page;
    count_chunk(pid, pagemap, at, pages < chunk_pages ? pages : chunk_pages, count);
  }
}

static void count_process(pid_t pid, struct count* count) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
  int pagemap = open(path, O_RDONLY | O_CLOEXEC);
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE* maps = fopen(path, "re");
  if (pagemap < 0 || !maps) die(path);
  char line[8192];
  while (fgets(line, sizeof line, maps)) {
    uint64_t start, end;
    if (strstr(line, "[v")) continue;  // the kernel's: vdso, vvar, vsyscall
    if (sscanf(line, "%lx-%lx", &start, &end) == 2) count_area(pid, pagemap, start, end, count);
  }
  fclose(maps);
  close(pagemap);
}

int main(int argc, char** argv) {
  struct count count = {0};
  for (int i = 1; i < argc; i++) count_process(atoi(argv[i]), &count);
  printf("%lu %lu\n", count.nonzero, count.zero);
  return 0;
}
