/* What /proc/self tells about the process may not change while it does nothing: descriptors with
 * flags and offsets, threads, memory areas, ids, masks, capabilities. */
#include <dirent.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>

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

/* Neighbouring areas without a file and with equal rights count as one: whether the kernel merges
 * them is its own affair. */
static void add_areas(struct Snapshot* it) {
  unsigned long low = 0, high = 0, start, end;
  char last[16] = "", rights[16];
  for (char* line = strtok(read_text("/proc/self/maps", NULL), "\n"); line;
       line = strtok(NULL, "\n")) {
    int rest = 0;
    CHECK_EQ(sscanf(line, "%lx-%lx %15s %n", &start, &end, rights, &rest), 3);
    int anonymous = strchr(line, '/') == NULL && strchr(line, '[') == NULL;
    if (anonymous && start == high && strcmp(rights, last) == 0) {
      high = end;
      continue;
    }
    if (last[0]) add(it, "%lx-%lx %s\n", low, high, last);
    strcpy(last, anonymous ? rights : "");
    low = start, high = end;
    if (!anonymous) add(it, "%s\n", line);
  }
}

static void take(struct Snapshot* it) {
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
  add_areas(it);
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
  __asm__ volatile("" ::"r"(deep) : "memory");

  ZERO(pthread_barrier_init(&everything_ready, NULL, kThreads + 1));
  ZERO(pthread_barrier_init(&everything_done, NULL, kThreads + 1));
  for (int i = 0; i < kThreads; ++i)
    ZERO(pthread_create(&threads[i], NULL, wait_for_end, names[i]));
  open_many();
  pthread_barrier_wait(&everything_ready);
  take(&first); /* may allocate */
  take(&first);
  say("ready");
  long long end = end_time(argc, argv);
  while (time_left(end)) {
    take(&now);
    compare(&first, &now);
  }
  pthread_barrier_wait(&everything_done);
  for (int i = 0; i < kThreads; ++i) ZERO(pthread_join(threads[i], NULL));
  say("ok");
  return 0;
}
