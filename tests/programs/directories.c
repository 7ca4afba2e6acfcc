/* The current directory, open directories (one read half way), O_PATH descriptors, the umask; the
 * root is the one it was. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "check.h"

enum { kFiles = 200 };

static const char* directory;

static struct stat status(int fd) {
  struct stat it;
  MUST(fstat(fd, &it));
  return it;
}

static int same(struct stat left, struct stat right) {
  return left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

static void name_of(char* name, int i) { snprintf(name, 32, "file-%03d", i); }

static void make_files(int fd) {
  char name[32];
  for (int i = 0; i < kFiles; ++i) {
    name_of(name, i);
    MUST(close(MUST(openat(fd, name, O_WRONLY | O_CREAT | O_EXCL, 0666))));
  }
}

static void remove_files(int fd) {
  char name[32];
  for (int i = 0; i < kFiles; ++i) {
    name_of(name, i);
    MUST(unlinkat(fd, name, 0));
  }
}

/* Marks the file of an entry as seen; the entry may come only once. */
static void mark(const char* name, unsigned char* seen) {
  if (name[0] == '.') return;
  int i = -1;
  CHECK(sscanf(name, "file-%d", &i) == 1 && i >= 0 && i < kFiles, "expected a file, saw %s", name);
  CHECK(!seen[i], "expected %s once, saw it twice", name);
  seen[i] = 1;
}

/* Reads a few entries more. After the last, all have to have come, and it begins anew: at nearly
 * any moment the kernel's offset is somewhere within the directory. */
static void read_on(int fd, unsigned char* seen) {
  char buffer[640];
  ssize_t size = MUST(getdents64(fd, buffer, sizeof buffer));
  for (ssize_t at = 0; at < size;) {
    const struct dirent64* entry = (const void*)(buffer + at);
    mark(entry->d_name, seen);
    at += entry->d_reclen;
  }
  if (size > 0) return;
  for (int i = 0; i < kFiles; ++i) CHECK(seen[i], "expected entry %d, saw none", i);
  memset(seen, 0, kFiles);
  MUST(lseek(fd, 0, SEEK_SET));
}

/* A file made now gets the bits that the umask leaves. */
static void check_umask(int fd) {
  struct stat made;
  MUST(close(MUST(openat(fd, "made", O_WRONLY | O_CREAT | O_EXCL, 0777))));
  MUST(fstatat(fd, "made", &made, 0));
  CHECK_EQ(made.st_mode, S_IFREG | 0751);
  MUST(unlinkat(fd, "made", 0));
  mode_t old = umask(0026);
  CHECK_EQ(old, 0026);
}

static void check_here(struct stat here, struct stat root, const char* path) {
  char seen[PATH_MAX];
  struct stat now;
  MUST(stat(".", &now));
  CHECK(same(now, here), "expected the same current directory");
  MUST(stat("/", &now));
  CHECK(same(now, root), "expected the same root");
  CHECK(getcwd(seen, sizeof seen) && strcmp(seen, path) == 0, "expected %s, saw %s", path, seen);
}

static void check_path_fd(int fd, struct stat expected) {
  char byte;
  CHECK(same(status(fd), expected), "expected the same file behind O_PATH");
  CHECK_EQ(MUST(fcntl(fd, F_GETFL)) & O_PATH, O_PATH);
  MUST_FAIL(read(fd, &byte, 1), EBADF);
}

int main(int argc, char** argv) {
  char here_path[PATH_MAX];
  umask(0026);
  directory = temporary_directory();
  int top = MUST(open(directory, O_RDONLY | O_DIRECTORY));
  MUST(mkdirat(top, "many", 0700)), MUST(mkdirat(top, "here", 0700));
  int many = MUST(openat(top, "many", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  make_files(many);
  int path = MUST(openat(many, "file-000", O_PATH));
  MUST(symlinkat("many/file-000", top, "link"));
  int link_path = MUST(openat(top, "link", O_PATH | O_NOFOLLOW));
  MUST(fchdir(MUST(openat(top, "here", O_PATH))));
  CHECK(getcwd(here_path, sizeof here_path) != NULL, "expected a current directory");
  struct stat here = status(MUST(open(".", O_RDONLY))), root = status(MUST(open("/", O_PATH)));
  struct stat file = status(path), link = status(link_path);
  CHECK_EQ(link.st_mode & S_IFMT, S_IFLNK);

  unsigned char seen[kFiles] = {0};
  say("ready");
  long long end = end_time(argc, argv);
  while (time_left(end)) {
    read_on(many, seen);
    check_umask(top);
    check_here(here, root, here_path);
    check_path_fd(path, file), check_path_fd(link_path, link);
  }
  remove_files(many);
  MUST(unlinkat(top, "link", 0));
  MUST(unlinkat(top, "many", AT_REMOVEDIR)), MUST(unlinkat(top, "here", AT_REMOVEDIR));
  MUST(rmdir(directory));
  say("ok");
  return 0;
}
