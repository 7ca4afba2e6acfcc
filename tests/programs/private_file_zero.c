/* A private page of a file that was overwritten with zeros has to stay zero: it looks like a page
 * without content, but the file below has some. The same for data and bss of the program itself. */
#include "memory.h"

enum { kPages = 16 };

static unsigned char data[3 * kPage]
    __attribute__((aligned(4096))) = {[0 ... 3 * kPage - 1] = 0x5a};
static unsigned char bss[3 * kPage] __attribute__((aligned(4096)));

int main(int argc, char** argv) {
  const char* directory = temporary_directory();
  const char* path = in_directory(directory, "file");
  int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
  unsigned char* bytes = map_anonymous(kPages);
  fill(bytes, kPages * kPage, 1);
  write_all(fd, bytes, kPages * kPage);
  unsigned char* area = map(kPages, kReadWrite, MAP_PRIVATE, fd, 0);
  memset(page(area, 2), 0, 3 * kPage);
  memset(page(data, 1), 0, kPage);
  memset(bss, 0x77, sizeof bss);
  memset(page(bss, 1), 0, kPage);
  __asm__ volatile("" ::"r"(data), "r"(bss) : "memory");
  say("ready");
  for (long long end = end_time(argc, argv); time_left(end);) {
    check_part(area, 0, 2 * kPage, 1, "before the zeros");
    check_zeros(page(area, 2), 3 * kPage, "zeros over a file");
    check_part(area, 5 * kPage, kPages * kPage, 1, "after the zeros");
    check_zeros(page(data, 1), kPage, "zeros over initialized data");
    check_zeros(page(bss, 1), kPage, "zeros in bss");
    for (size_t i = 0; i < kPage; ++i) {
      CHECK_EQ(data[i], 0x5a), CHECK_EQ(page(data, 2)[i], 0x5a);
      CHECK_EQ(bss[i], 0x77), CHECK_EQ(page(bss, 2)[i], 0x77);
    }
  }
  MUST(close(fd)), MUST(unlink(path)), MUST(rmdir(directory));
  say("ok");
  return 0;
}
