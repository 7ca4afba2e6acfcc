/* A text of what a program sees of itself, to be compared with an earlier one. */
#ifndef TESTS_PROGRAMS_SNAPSHOT_H_
#define TESTS_PROGRAMS_SNAPSHOT_H_

#include <fcntl.h>

#include "check.h"

enum { kSnapshotSize = 1 << 16 };

struct Snapshot {
  size_t size;
  char text[kSnapshotSize];
};

__attribute__((format(printf, 2, 3))) static inline void add(struct Snapshot* it,
                                                             const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(it->text + it->size, kSnapshotSize - it->size, format, arguments);
  va_end(arguments);
  it->size += (size_t)size;
  CHECK(it->size < kSnapshotSize, "expected a short /proc, saw more than %d bytes", kSnapshotSize);
}

/* The whole of a small /proc file in a static buffer, and its length if wanted. */
static inline char* read_text(const char* path, size_t* length) {
  static char file_text[kSnapshotSize];
  int fd = MUST(open(path, O_RDONLY | O_CLOEXEC));
  size_t size = 0;
  ssize_t part;
  while ((part = MUST(read(fd, file_text + size, kSnapshotSize - 1 - size))) > 0)
    size += (size_t)part;
  MUST(close(fd));
  file_text[size] = 0;
  if (length) *length = size;
  return file_text;
}

/* Lines of `text` that begin with one of the names. */
static inline void add_lines(struct Snapshot* it, char* text, const char* const* names) {
  for (char* line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
    for (const char* const* name = names; *name; ++name)
      if (strncmp(line, *name, strlen(*name)) == 0) add(it, "%s\n", line);
}

/* Fails with the first line that differs. */
static inline void compare(const struct Snapshot* first, const struct Snapshot* now) {
  if (strcmp(first->text, now->text) == 0) return;
  const char *a = first->text, *b = now->text, *line_a = a, *line_b = b;
  for (; *a && *a == *b; ++a, ++b)
    if (*a == '\n') line_a = a + 1, line_b = b + 1;
  CHECK(0, "expected \"%.*s\", saw \"%.*s\"", (int)strcspn(line_a, "\n"), line_a,
        (int)strcspn(line_b, "\n"), line_b);
}

#endif /* TESTS_PROGRAMS_SNAPSHOT_H_ */
