/* What the memory programs share: areas by the page, and what the kernel knows of them. */
#ifndef TESTS_PROGRAMS_MEMORY_H_
#define TESTS_PROGRAMS_MEMORY_H_

#include <fcntl.h>
#include <sys/mman.h>

#include "check.h"

enum { kPage = 4096, kReadWrite = PROT_READ | PROT_WRITE };

static inline unsigned char* map(size_t pages, int rights, int flags, int fd, off_t first_page) {
  return (unsigned char*)MUST(mmap(NULL, pages * kPage, rights, flags, fd, first_page * kPage));
}

static inline unsigned char* map_anonymous(size_t pages) {
  return map(pages, kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static inline unsigned char* page(unsigned char* area, size_t index) {
  return area + index * kPage;
}

/* Has the area at this address the two-letter flag of /proc/self/smaps, as proc(5) lists them? */
static inline int area_has(const void* address, const char* flag) {
  char line[512], *found = NULL;
  unsigned long start, end;
  int inside = 0;
  FILE* smaps = fopen("/proc/self/smaps", "re");
  CHECK(smaps != NULL, "expected /proc/self/smaps, saw %s", strerror(errno));
  while (!found && fgets(line, sizeof line, smaps)) {
    if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
      inside = start <= (unsigned long)address && (unsigned long)address < end;
    else if (inside && strncmp(line, "VmFlags:", 8) == 0)
      found = line;
  }
  fclose(smaps);
  CHECK(found != NULL, "expected an area at %p, saw none", address);
  char word[8];
  snprintf(word, sizeof word, " %s", flag);
  return strstr(line, word) != NULL;
}

/* Can the kernel read this byte for us? 0 or the error (EFAULT). */
static inline int touch(const unsigned char* byte) {
  static int sink = -1;
  if (sink < 0) sink = MUST(open("/dev/random", O_WRONLY | O_CLOEXEC));
  errno = 0;
  return write(sink, byte, 1) == 1 ? 0 : errno;
}

#endif /* TESTS_PROGRAMS_MEMORY_H_ */
