/* How the program was started, as /proc/self shows it: command line (overwritten in place, as
 * daemons do), environment, auxiliary vector, executable, name; and where they lie in memory. */
#include <link.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

#include "snapshot.h"

static const char kAdded[] = "an argument of the program's own";

static void add_bytes(struct Snapshot* it, const char* name, const char* bytes, size_t size) {
  add(it, "%s %zu:", name, size);
  for (size_t i = 0; i < size; ++i) add(it, "%02x", (unsigned char)bytes[i]);
  add(it, "\n");
}

static void add_file(struct Snapshot* it, const char* path) {
  size_t size;
  const char* text = read_text(path, &size);
  CHECK(size > 0, "expected something in %s", path);
  add_bytes(it, path, text, size);
}

/* Fields of stat(5) in proc(5) that are addresses of code, stack, data, heap, arguments,
 * environment. */
static void add_addresses(struct Snapshot* it) {
  char* word = strtok(strrchr(read_text("/proc/self/stat", NULL), ')') + 2, " ");
  for (int field = 3; word; ++field, word = strtok(NULL, " "))
    if ((field >= 26 && field <= 28) || (field >= 45 && field <= 51))
      add(it, "stat %d: %s\n", field, word);
}

static void observe(struct Snapshot* it) {
  char target[4096] = "";
  it->size = 0;
  add_file(it, "/proc/self/cmdline"), add_file(it, "/proc/self/environ");
  add_file(it, "/proc/self/auxv"), add_file(it, "/proc/self/comm");
  MUST(readlink("/proc/self/exe", target, sizeof target - 1));
  add(it, "exe %s\n", target);
  add_addresses(it);
  add_bytes(it, "AT_RANDOM", (const char*)getauxval(AT_RANDOM), 16);
  add(it, "AT_SYSINFO_EHDR %#lx\n", getauxval(AT_SYSINFO_EHDR));
  add_bytes(it, "vdso", (const char*)getauxval(AT_SYSINFO_EHDR), sizeof(ElfW(Ehdr)));
}

int main(int argc, char** argv) {
  static struct Snapshot first, now;
  /* The caller may have an empty environment or no arguments: start anew with some of our own. */
  if (getenv("ARGV_ENV") == NULL) {
    char seconds[32];
    snprintf(seconds, sizeof seconds, "%g", option(argc, argv, "--seconds", 3));
    MUST(setenv("ARGV_ENV", "a value of\nits own", 1));
    execl("/proc/self/exe", "argv_env", "--seconds", seconds, kAdded, "", "end", (char*)NULL);
    CHECK(0, "expected exec to succeed, saw %s", strerror(errno));
  }
  CHECK(argc == 6 && strcmp(argv[3], kAdded) == 0 && argv[4][0] == 0, "expected our own arguments");
  MUST(prctl(PR_SET_NAME, "another name"));
  memset(argv[0], 'x', strlen(argv[0]));
  observe(&first);
  say("ready");
  for (long long end = end_time(argc, argv); time_left(end);) {
    observe(&now);
    compare(&first, &now);
    CHECK(strcmp(argv[0], "xxxxxxxx") == 0 && strcmp(argv[3], kAdded) == 0,
          "expected the same arguments");
    CHECK(strcmp(getenv("ARGV_ENV"), "a value of\nits own") == 0, "expected the same environment");
  }
  say("ok");
  return 0;
}
