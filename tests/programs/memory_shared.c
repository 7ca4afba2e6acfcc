/* Memory that two processes share: anonymous, memfd (with seals, mapped twice), POSIX shared
 * memory, a file, a part moved to another address; with a process-shared mutex and condition in it.
 * Both count in turn, and every count is seen by the other through every kind. */
#include <pthread.h>
#include <stdint.h>
#include <sys/stat.h>

#include "memory.h"

enum { kPages = 64, kKinds = 4 };

struct Turn {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int child_has_it, over;
};

static struct Turn* turn;
static unsigned char* areas[kKinds]; /* anonymous, memfd, /dev/shm, file */
static unsigned char *alias, *moved;
static int memory_fd;

static void make_turn(void) {
  pthread_mutexattr_t mutex;
  pthread_condattr_t condition;
  turn = (struct Turn*)(void*)map(1, kReadWrite, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ZERO(pthread_mutexattr_init(&mutex)), ZERO(pthread_condattr_init(&condition));
  ZERO(pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED));
  ZERO(pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST));
  ZERO(pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED));
  ZERO(pthread_mutex_init(&turn->mutex, &mutex)),
      ZERO(pthread_cond_init(&turn->changed, &condition));
}

static unsigned char* map_fd(int fd) {
  MUST(ftruncate(fd, kPages * kPage));
  return map(kPages, kReadWrite, MAP_SHARED, fd, 0);
}

static void make_areas(const char* file_path) {
  char name[64];
  areas[0] = map(kPages, kReadWrite, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  memory_fd = MUST(memfd_create("shared memory", MFD_ALLOW_SEALING | MFD_CLOEXEC));
  areas[1] = map_fd(memory_fd);
  MUST(fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
  alias = map(kPages - 5, PROT_READ, MAP_SHARED, memory_fd, 5);
  snprintf(name, sizeof name, "/program-%d", (int)getpid());
  int fd = MUST(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
  areas[2] = map_fd(fd);
  MUST(shm_unlink(name)), MUST(close(fd));
  fd = MUST(open(file_path, O_RDWR | O_CREAT, 0600));
  areas[3] = map_fd(fd);
  MUST(close(fd));
  for (unsigned i = 0; i < kKinds; ++i) fill(page(areas[i], 8), 16 * kPage, i);
}

/* The middle of the anonymous area moves to another address, in the child alone. */
static void move_part(void) {
  moved = MUST(mremap(page(areas[0], 30), 10 * kPage, 10 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED,
                      map_anonymous(10)));
}

static uint64_t* counter(unsigned char* area) { return (uint64_t*)(void*)page(area, 40); }

static void check_all(uint64_t count) {
  for (unsigned i = 0; i < kKinds; ++i) {
    check_filled(page(areas[i], 8), 16 * kPage, i, "shared area");
    CHECK_EQ(*counter(areas[i]), count);
    /* A page of its own for every count, touched for the first time here and there. */
    CHECK_EQ(page(areas[i], 41 + count % 20)[7], (unsigned char)count);
  }
  check_zeros(page(areas[0], 1), kPage, "untouched page");
  CHECK(memcmp(alias, page(areas[1], 5), (kPages - 5) * kPage) == 0,
        "expected an alias of the memfd");
  uint64_t seen;
  CHECK_EQ(MUST(pread(memory_fd, &seen, sizeof seen, 40 * kPage)), sizeof seen);
  CHECK_EQ(seen, count);
  CHECK_EQ(MUST(fcntl(memory_fd, F_GET_SEALS)), F_SEAL_SHRINK | F_SEAL_GROW);
  MUST_FAIL(ftruncate(memory_fd, kPage), EPERM);
}

static void count_up(void) {
  for (unsigned i = 0; i < kKinds; ++i) {
    uint64_t count = ++*counter(areas[i]);
    page(areas[i], 41 + count % 20)[7] = (unsigned char)count;
  }
}

static void lock(void) { ZERO(pthread_mutex_lock(&turn->mutex)); }
static void unlock(void) { ZERO(pthread_mutex_unlock(&turn->mutex)); }

static void check_and_count(int for_child, uint64_t count) {
  check_all(count);
  count_up();
  turn->child_has_it = for_child;
  ZERO(pthread_cond_broadcast(&turn->changed));
}

/* Sleeps in the shared condition until it has the turn. */
static void child(void) {
  move_part();
  lock();
  for (uint64_t count = 1;; count += 2) {
    while (!turn->child_has_it && !turn->over)
      ZERO(pthread_cond_wait(&turn->changed, &turn->mutex));
    if (turn->over) break;
    check_and_count(0, count);
    moved[100] = (unsigned char)count;
  }
  unlock();
  _exit(0);
}

/* Polls, so as to notice a child that failed. */
static void await_turn(pid_t child) {
  for (int mine = 0; !mine;) {
    expect_alive(child);
    nap_ms(1);
    lock();
    mine = !turn->child_has_it;
    unlock();
  }
}

int main(int argc, char** argv) {
  const char* directory = temporary_directory();
  const char* path = in_directory(directory, "file");
  make_turn();
  make_areas(path);
  pid_t pid = MUST(fork());
  if (pid == 0) child();
  say("ready");
  uint64_t count = 0;
  for (long long end = end_time(argc, argv); time_left(end); count += 2) {
    lock();
    check_and_count(1, count);
    unlock();
    await_turn(pid);
  }
  lock();
  turn->over = 1;
  ZERO(pthread_cond_broadcast(&turn->changed));
  unlock();
  reap(pid, 0);
  if (count >= 4) CHECK_EQ(page(areas[0], 30)[100], (unsigned char)(count - 1));
  MUST(unlink(path)), MUST(rmdir(directory));
  say("ok");
  return 0;
}
