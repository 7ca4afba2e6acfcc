/* The main thread has ended by pthread_exit, the others go on: the process keeps its id and its
 * name, the leader stays as a zombie thread, the last thread ends the process. A child does the
 * same. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "check.h"

enum { kThreads = 3 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn, waiting_for_end = kThreads, is_child;
static pid_t child;
static long long end;

static char state_of_leader(void) {
  char path[64], text[512] = "";
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)getpid());
  int fd = MUST(open(path, O_RDONLY));
  MUST(read(fd, text, sizeof text - 1));
  MUST(close(fd));
  return strrchr(text, ')')[2];
}

/* Takes turns with the other threads, one each 3 ms or so. */
static void take_turn(int number) {
  ZERO(pthread_mutex_lock(&mutex));
  while (turn % kThreads != number) ZERO(pthread_cond_wait(&changed, &mutex));
  ++turn;
  ZERO(pthread_cond_broadcast(&changed));
  ZERO(pthread_mutex_unlock(&mutex));
}

static void* go_on(void* argument) {
  int number = (int)(long)argument, rounds = 0, last;
  pid_t pid = getpid(), tid = (pid_t)syscall(SYS_gettid);
  while (state_of_leader() != 'Z') nap_ms(1);
  if (number == 0 && !is_child) say("ready");
  CHECK(tid != pid, "expected not to be the leader");
  /* All make as many turns as the first one, which alone looks at the clock. */
  static volatile int over_at = 1 << 30;
  for (; rounds < over_at; ++rounds) {
    take_turn(number);
    CHECK_EQ(state_of_leader(), 'Z');
    CHECK_EQ(getpid(), pid), CHECK_EQ(syscall(SYS_gettid), tid);
    nap_ms(1);
    if (number == 0 && over_at == 1 << 30 && now_ns() >= end) over_at = rounds + 3;
  }
  last = __sync_sub_and_fetch(&waiting_for_end, 1) == 0;
  if (!last) return NULL;
  if (is_child) _exit(5);
  reap(child, 5);
  say("ok");
  exit(0);
}

int main(int argc, char** argv) {
  end = end_time(argc, argv);
  child = MUST(fork());
  is_child = child == 0;
  for (long i = 0; i < kThreads; ++i) {
    pthread_t thread;
    ZERO(pthread_create(&thread, NULL, go_on, (void*)i));
    ZERO(pthread_detach(thread));
  }
  pthread_exit(NULL);
}
