/* What single operations cost: prints a line "NAME NANOSECONDS" for each, the median of some
 * series. Run bare and under the wrapped mode by overhead.py. */
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kSeries = 9, kPage = 4096 };

static int pipe_ends[2];
static char* self;

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void must(int good, const char* what) {
  if (good) return;
  perror(what);
  exit(1);
}

static void ask_pid(void) { syscall(SYS_getpid); }

static void use_pipe(void) {
  char byte = 0;
  must(write(pipe_ends[1], &byte, 1) == 1 && read(pipe_ends[0], &byte, 1) == 1, "pipe");
}

static void open_close(void) {
  const int fd = open("/dev/null", O_RDONLY);
  must(fd >= 0, "open");
  close(fd);
}

static void map_unmap(void) {
  void* page = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(page != MAP_FAILED, "mmap");
  munmap(page, kPage);
}

static void change_mask(void) {
  sigset_t set;
  sigemptyset(&set);
  sigprocmask(SIG_BLOCK, &set, NULL);
}

static void handle(int number) { (void)number; }
static void handle_signal(void) { raise(SIGUSR1); }

static void* nothing(void* argument) { return argument; }

static void create_join(void) {
  pthread_t thread;
  must(pthread_create(&thread, NULL, nothing, NULL) == 0, "thread");
  pthread_join(thread, NULL);
}

static void fork_wait(void) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  must(waitpid(child, NULL, 0) == child, "fork");
}

static void fork_exec_wait(void) {
  const pid_t child = fork();
  if (child == 0) {
    execl(self, self, "--end", (char*)NULL);
    _exit(1);
  }
  int status = 1;
  must(waitpid(child, &status, 0) == child && status == 0, "exec");
}

static uint32_t turn;

static void* partner(void* unused) {
  for (;;) {
    while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) == 0) {
      syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, 0, NULL);
    }
    if (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) == 2) return unused;
    __atomic_store_n(&turn, 0, __ATOMIC_RELEASE);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, INT_MAX);
  }
}

static void ping_pong(void) {
  __atomic_store_n(&turn, 1, __ATOMIC_RELEASE);
  syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, INT_MAX);
  while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) == 1) {
    syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, 1, NULL);
  }
}

static void compute(void) {
  static volatile uint64_t sum;
  for (uint64_t i = 0; i < 1000; ++i) sum = sum * 6364136223846793005ULL + i;
}

static int by_size(const void* a, const void* b) {
  const double difference = *(const double*)a - *(const double*)b;
  return difference < 0 ? -1 : difference > 0;
}

static void measure(const char* name, void (*operation)(void), int count) {
  double series[kSeries];
  for (int i = -1; i < kSeries; ++i) {
    const double began = now_ns();
    for (int j = 0; j < count; ++j) operation();
    if (i >= 0) series[i] = (now_ns() - began) / count;
  }
  qsort(series, kSeries, sizeof *series, by_size);
  printf("%s %.1f\n", name, series[kSeries / 2]);
}

/* So that it can be saved, and brought back, before it begins. */
static void wait_for_file(const char* path) {
  const struct timespec nap = {0, 10000000};
  while (access(path, F_OK) != 0) nanosleep(&nap, NULL);
}

/* The least that any filter costs: one instruction, which lets everything pass. */
static void run_under_filter(char** command) {
  struct sock_filter pass = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const struct sock_fprog filter = {1, &pass};
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
  must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0, "seccomp");
  execvp(command[0], command);
  must(0, command[0]);
}

int main(int argc, char** argv) {
  if (argc > 2 && strcmp(argv[1], "--under-filter") == 0) run_under_filter(argv + 2);
  if (argc > 1 && strcmp(argv[1], "--end") == 0) return 0;
  if (argc > 1) wait_for_file(argv[1]);
  self = argv[0];
  pthread_t thread;
  must(pipe(pipe_ends) == 0, "pipe");
  signal(SIGUSR1, handle);
  measure("getpid", ask_pid, 100000);
  measure("pipe write+read", use_pipe, 20000);
  measure("open+close", open_close, 20000);
  measure("mmap+munmap", map_unmap, 20000);
  measure("1000 multiplications", compute, 20000);
  measure("sigprocmask", change_mask, 20000);
  measure("signal handled", handle_signal, 10000);
  measure("thread create+join", create_join, 500);
  measure("fork+wait", fork_wait, 100);
  measure("fork+exec+wait", fork_exec_wait, 100);
  must(pthread_create(&thread, NULL, partner, NULL) == 0, "thread");
  measure("futex ping-pong", ping_pong, 5000);
  __atomic_store_n(&turn, 2, __ATOMIC_RELEASE);
  syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, INT_MAX);
  pthread_join(thread, NULL);
  return 0;
}
