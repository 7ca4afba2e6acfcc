/* What belongs to one thread: its id, name, nice value, CPUs, scheduling policy, I/O priority,
 * timer slack, parent-death signal, thread-local values, rseq registration, robust list; and that a
 * robust mutex tells of the death of its owner, be it a thread or a process. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

#include "check.h"

enum { kThreads = 4, kIoBestEffort = 2 << 13 };

static const int kPolicies[kThreads] = {SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_OTHER};
static _Thread_local unsigned char local_bytes[5000];
static _Thread_local int local_number = 4711;
static pthread_barrier_t started;
static pthread_mutex_t robust;
static pthread_key_t key;
static long long end;
static int cpus[CPU_SETSIZE], cpu_count;

static pid_t tid(void) { return (pid_t)syscall(SYS_gettid); }

static cpu_set_t cpus_of(long number) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = 0; i < cpu_count; ++i)
    if (number == 3 || i % kThreads == number % cpu_count) CPU_SET(cpus[i], &set);
  return set;
}

static void set_up(long number) {
  char name[16];
  snprintf(name, sizeof name, "thread %ld", number);
  MUST(prctl(PR_SET_NAME, name));
  struct sched_param parameter = {0};
  MUST(sched_setscheduler(0, kPolicies[number] | (number == 1 ? SCHED_RESET_ON_FORK : 0),
                          &parameter));
  MUST(setpriority(PRIO_PROCESS, (id_t)tid(), (int)number * 4 + 1));
  cpu_set_t set = cpus_of(number);
  MUST(sched_setaffinity(0, sizeof set, &set));
  MUST(syscall(SYS_ioprio_set, 1, 0, kIoBestEffort | (5 + number % 3)));
  MUST(prctl(PR_SET_TIMERSLACK, 77000ul + (unsigned long)number));
  MUST(prctl(PR_SET_PDEATHSIG, SIGRTMIN + number));
  fill(local_bytes, sizeof local_bytes, (unsigned)number);
  local_number += (int)number;
  ZERO(pthread_setspecific(key, (void*)(number + 100)));
}

static void check_scheduling(long number) {
  cpu_set_t expected = cpus_of(number), seen;
  CHECK_EQ(MUST(sched_getscheduler(0)),
           kPolicies[number] | (number == 1 ? SCHED_RESET_ON_FORK : 0));
  CHECK_EQ(getpriority(PRIO_PROCESS, 0), number * 4 + 1);
  MUST(sched_getaffinity(0, sizeof seen, &seen));
  CHECK(CPU_EQUAL(&expected, &seen), "expected %d CPUs, saw %d", CPU_COUNT(&expected),
        CPU_COUNT(&seen));
  CHECK_EQ(syscall(SYS_ioprio_get, 1, 0), kIoBestEffort | (5 + number % 3));
}

static void check_names(long number) {
  char expected[16], seen[16];
  int signal_number = 0;
  snprintf(expected, sizeof expected, "thread %ld", number);
  MUST(prctl(PR_GET_NAME, seen));
  CHECK(strcmp(seen, expected) == 0, "expected %s, saw %s", expected, seen);
  CHECK_EQ(MUST(prctl(PR_GET_TIMERSLACK)), 77000 + number);
  MUST(prctl(PR_GET_PDEATHSIG, &signal_number));
  CHECK_EQ(signal_number, SIGRTMIN + number);
}

/* The kernel keeps the CPU's number in the area that the C library registered. */
static void check_rseq(void) {
  if (__rseq_size == 0) return;
  const struct rseq* area = (const void*)((const char*)__builtin_thread_pointer() + __rseq_offset);
  for (int tries = 0; tries < 1000; ++tries) {
    unsigned before, after, seen;
    MUST(syscall(SYS_getcpu, &before, NULL, NULL));
    seen = __atomic_load_n(&area->cpu_id, __ATOMIC_RELAXED);
    MUST(syscall(SYS_getcpu, &after, NULL, NULL));
    if (before == after && seen == before) return;
  }
  CHECK(0, "rseq: expected the number of this CPU, saw %d", (int)area->cpu_id);
}

static void check_locals(long number, void* robust_list) {
  void* list = NULL;
  size_t size = 0;
  check_filled(local_bytes, sizeof local_bytes, (unsigned)number, "thread-local bytes");
  CHECK_EQ(local_number, 4711 + number);
  CHECK_EQ((long)pthread_getspecific(key), number + 100);
  MUST(syscall(SYS_get_robust_list, 0, &list, &size));
  CHECK(list == robust_list && size == 24, "expected the robust list %p, saw %p", robust_list,
        list);
}

static void* live(void* argument) {
  long number = (long)argument;
  pid_t own = tid();
  void* robust_list;
  size_t size;
  set_up(number);
  MUST(syscall(SYS_get_robust_list, 0, &robust_list, &size));
  if (number == 0) ZERO(pthread_mutex_lock(&robust));
  pthread_barrier_wait(&started);
  do {
    CHECK_EQ(tid(), own);
    check_scheduling(number);
    check_names(number);
    check_locals(number, robust_list);
    check_rseq();
  } while (time_left(end));
  return NULL; /* thread 0 dies with the mutex */
}

static void make_robust(pthread_mutex_t* mutex, int shared) {
  pthread_mutexattr_t attributes;
  ZERO(pthread_mutexattr_init(&attributes));
  ZERO(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST));
  ZERO(pthread_mutexattr_setpshared(&attributes, shared));
  ZERO(pthread_mutex_init(mutex, &attributes));
}

static void expect_owner_died(pthread_mutex_t* mutex) {
  CHECK_EQ(pthread_mutex_lock(mutex), EOWNERDEAD);
  ZERO(pthread_mutex_consistent(mutex));
  ZERO(pthread_mutex_unlock(mutex));
}

/* Takes the mutex and never gives it back. */
static pid_t fork_owner(pthread_mutex_t* mutex) {
  int taken[2];
  char byte;
  MUST(pipe(taken));
  pid_t child = MUST(fork());
  if (child == 0) {
    ZERO(pthread_mutex_lock(mutex));
    write_all(taken[1], "t", 1);
    sleep_until(end + 30 * SECOND);
    _exit(1);
  }
  MUST(close(taken[1]));
  read_all(taken[0], &byte, 1);
  MUST(close(taken[0]));
  return child;
}

int main(int argc, char** argv) {
  pthread_t threads[kThreads];
  pthread_mutex_t* shared =
      MUST(mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  end = end_time(argc, argv);
  cpu_set_t allowed;
  MUST(sched_getaffinity(0, sizeof allowed, &allowed));
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &allowed)) cpus[cpu_count++] = i;
  /* Whoever started us may end: only the setting is of interest here. */
  for (int i = 0; i < kThreads; ++i)
    CHECK(signal(SIGRTMIN + i, SIG_IGN) != SIG_ERR, "expected to ignore it");
  make_robust(&robust, PTHREAD_PROCESS_PRIVATE), make_robust(shared, PTHREAD_PROCESS_SHARED);
  ZERO(pthread_key_create(&key, NULL));
  ZERO(pthread_barrier_init(&started, NULL, kThreads + 1));
  pid_t owner = fork_owner(shared);
  for (long i = 0; i < kThreads; ++i) ZERO(pthread_create(&threads[i], NULL, live, (void*)i));
  pthread_barrier_wait(&started);
  say("ready");
  while (time_left(end)) {
    CHECK_EQ(pthread_mutex_trylock(&robust), EBUSY);
    CHECK_EQ(pthread_mutex_trylock(shared), EBUSY);
  }
  for (long i = 0; i < kThreads; ++i) ZERO(pthread_join(threads[i], NULL));
  expect_owner_died(&robust);
  MUST(kill(owner, SIGKILL));
  int status = 0;
  MUST(waitpid(owner, &status, 0));
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "expected SIGKILL, saw %#x",
        (unsigned)status);
  expect_owner_died(shared);
  say("ok");
  return 0;
}
