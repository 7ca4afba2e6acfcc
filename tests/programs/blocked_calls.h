/* One blocking call of blocked_calls: what to call, and who ends it. */
#ifndef TESTS_PROGRAMS_BLOCKED_CALLS_H_
#define TESTS_PROGRAMS_BLOCKED_CALLS_H_

#include <pthread.h>
#include <semaphore.h>

struct Case {
  const char* name;
  void (*call)(struct Case*); /* blocks until `deadline`, and checks what the call returned */
  void (*wake)(struct Case*); /* called at `deadline` by another thread; NULL: a timeout ends it */
  void (*set_up)(struct Case*); /* before the first call; NULL: nothing to set up */
  void (*tear_down)(struct Case*);
  int may_be_late;   /* a socket's own timeout, which the kernel counts anew after every stop */
  int may_be_early;  /* its time is CLOCK_REALTIME, which goes on while monotonic stands */
  int of_full_queue; /* a restart may leave more room in the queue that it waits for */
  long long duration, deadline; /* ns, and on CLOCK_MONOTONIC */
  int fd[2], epoll, word;
  pthread_t blocked, waker;
  sem_t begin;
  int over, left_out;
};

extern struct Case blocked_cases[];
extern const int blocked_case_count;

#endif /* TESTS_PROGRAMS_BLOCKED_CALLS_H_ */
