/* What /proc/self tells about the process may not change while it does nothing: descriptors with
 * flags and offsets, threads, memory areas (--merge-areas 1: see there), ids, masks, capabilities.
 */
#include <dirent.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "snapshot.h"

enum { kThreads = 3 };

static int by_number(const void* left, const void* right) {
  return *(const int*)left - *(const int*)right;
}

/* The numbers in a /proc directory, sorted, less that of the descriptor used for it. */
static int list(const char* path, int* numbers, int room, int leave_out_own) {
  DIR* directory = opendir(path);
  CHECK(directory != NULL, "expected %s, saw %s", path, strerror(errno));
  int count = 0;
  for (struct dirent* entry; (entry = readdir(directory)) != NULL && count < room;)
    if (entry->d_name[0] != '.' && !(leave_out_own && atoi(entry->d_name) == dirfd(directory)))
      numbers[count++] = atoi(entry->d_name);
  MUST(closedir(directory));
  qsort(numbers, (size_t)count, sizeof *numbers, by_number);
  return count;
}

/* Standard input and output belong to whoever started us; of the rest, numbers of pipes may differ.
 */
static void add_descriptors(struct Snapshot* it) {
  static const char* const kLines[] = {"pos:", "flags:", "eventfd-count:", "tfd:", NULL};
  int fds[256], count = list("/proc/self/fd", fds, 256, 1);
  for (int i = 0; i < count; ++i) {
    char path[64], target[512] = "";
    add(it, "fd %d\n", fds[i]);
    if (fds[i] <= 2) continue;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fds[i]);
    MUST(readlink(path, target, sizeof target - 1));
    add(it, "-> %.*s\n", (int)strcspn(target, "["), target);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fds[i]);
    char* info = read_text(path, NULL);
    for (char* inode; (inode = strstr(info, " ino:")) != NULL;) /* of a pipe in an epoll set */
      memset(inode, ' ', 5 + strspn(inode + 5, "0123456789abcdef"));
    add_lines(it, info, kLines);
  }
}

static void add_threads(struct Snapshot* it) {
  int tids[64], count = list("/proc/self/task", tids, 64, 0);
  for (int i = 0; i < count; ++i) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", tids[i]);
    add(it, "thread %d %s", tids[i], read_text(path, NULL));
  }
}

struct Area {
  unsigned long start, end, offset, inode;
  char rights[16], device[16], path[512];
};

static int continues(const struct Area* it, const struct Area* before) {
  int anonymous = it->inode == 0;
  return it->start == before->end && strcmp(it->rights, before->rights) == 0 &&
         strcmp(it->device, before->device) == 0 && it->inode == before->inode &&
         strcmp(it->path, before->path) == 0 &&
         (anonymous || it->offset == before->offset + (before->end - before->start));
}

/* With merge, neighbouring areas that go on alike count as one: after a restart the kernel may
 * merge what it had not merged before, because a page was written once, for example. */
static void add_areas(struct Snapshot* it, int merge) {
  struct Area last = {0}, now;
  for (char* line = strtok(read_text("/proc/self/maps", NULL), "\n"); line;
       line = strtok(NULL, "\n")) {
    now.path[0] = 0;
    CHECK(sscanf(line, "%lx-%lx %15s %lx %15s %lu %511[^\n]", &now.start, &now.end, now.rights,
                 &now.offset, now.device, &now.inode, now.path) >= 6,
          "expected an area, saw %s", line);
    if (merge && last.end != 0 && continues(&now, &last)) {
      last.end = now.end;
      continue;
    }
    if (last.end != 0)
      add(it, "%lx-%lx %s %lx %s %lu %s\n", last.start, last.end, last.rights, last.offset,
          last.device, last.inode, last.path);
    last = now;
  }
}

static void take(struct Snapshot* it, int merge) {
  static const char* const kLines[] = {"Name:",
                                       "Umask:",
                                       "Tgid:",
                                       "Ngid:",
                                       "Pid:",
                                       "TracerPid:",
                                       "Uid:",
                                       "Gid:",
                                       "FDSize:",
                                       "Groups:",
                                       "Threads:",
                                       "SigPnd:",
                                       "ShdPnd:",
                                       "SigBlk:",
                                       "SigIgn:",
                                       "SigCgt:",
                                       "CapInh:",
                                       "CapPrm:",
                                       "CapEff:",
                                       "CapBnd:",
                                       "CapAmb:",
                                       "NoNewPrivs:",
                                       "Seccomp:",
                                       "THP_enabled:",
                                       "VmLck:",
                                       "VmPin:",
                                       "Cpus_allowed_list:",
                                       "Mems_allowed_list:",
                                       "Speculation_Store_Bypass:",
                                       NULL};
  it->size = 0;
  add_descriptors(it);
  add_threads(it);
  add_areas(it, merge);
  add_lines(it, read_text("/proc/self/status", NULL), kLines);
}

/* Signal masks, descriptors of many kinds, threads, areas of many kinds. */
static pthread_barrier_t everything_ready, everything_done;

static void* wait_for_end(void* name) {
  MUST(prctl(PR_SET_NAME, name));
  pthread_barrier_wait(&everything_ready);
  pthread_barrier_wait(&everything_done);
  return NULL;
}

static void open_many(void) {
  int fds[2];
  int self = MUST(open("/proc/self/exe", O_RDONLY));
  MUST(lseek(self, 100, SEEK_SET));
  MUST(pipe2(fds, O_NONBLOCK | O_CLOEXEC));
  MUST(dup2(MUST(eventfd(5, 0)), 77));
  int epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 1};
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event));
  MUST(mmap(NULL, 10 << 12, PROT_READ, MAP_PRIVATE, self, 0));
  char* area =
      MUST(mmap(NULL, 9 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(mprotect(area + (3 << 12), 3 << 12, PROT_NONE));
}

int main(int argc, char** argv) {
  static struct Snapshot first, now;
  char* names[kThreads] = {(char*)"first", (char*)"second", (char*)"third"};
  pthread_t threads[kThreads];
  char deep[1 << 17]; /* the stack will not have to grow any more */
  memset(deep, 1, sizeof deep);
  MUST(syscall(SYS_close_range, 3, ~0u, 0)); /* others may move what we inherited */
  __asm__ volatile("" ::"r"(deep) : "memory");

  ZERO(pthread_barrier_init(&everything_ready, NULL, kThreads + 1));
  ZERO(pthread_barrier_init(&everything_done, NULL, kThreads + 1));
  for (int i = 0; i < kThreads; ++i)
    ZERO(pthread_create(&threads[i], NULL, wait_for_end, names[i]));
  open_many();
  pthread_barrier_wait(&everything_ready);
  int merge = (int)option(argc, argv, "--merge-areas", 0);
  take(&first, merge); /* may allocate */
  take(&first, merge);
  say("ready");
  long long end = end_time(argc, argv);
  while (time_left(end)) {
    take(&now, merge);
    compare(&first, &now);
  }
  pthread_barrier_wait(&everything_done);
  for (int i = 0; i < kThreads; ++i) ZERO(pthread_join(threads[i], NULL));
  say("ok");
  return 0;
}
