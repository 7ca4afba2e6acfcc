/* A thread waits in vfork for most of the time, while the child, in the same memory, takes
 * --hold-ms (150) until it execs or exits; another thread of the parent is not kept from going on
 * (at the latest afterwards: a checkpoint that stops it has to wait for the child). */
#include <pthread.h>
#include <sys/syscall.h>

#include "check.h"

static volatile long steps_of_child, steps_of_thread;
static volatile int over;
static long long hold_ms;

static void* go_on(void* argument) {
  for (; !over; ++steps_of_thread) nap_ms(1);
  return argument;
}

/* In the child: works in the parent's memory, then leaves it. */
static void work_then_leave(pid_t parent, int status) {
  for (long long until = now_ns() + hold_ms * MILLISECOND; now_ns() < until;) {
    nap_ms(1);
    ++steps_of_child;
    if (getpid() == parent || getppid() != parent) _exit(3);
  }
  if (status == 0) execl("/bin/true", "true", (char*)NULL);
  _exit(status);
}

static void one_vfork(int status) {
  pid_t self = getpid();
  long before = steps_of_child, thread_before = steps_of_thread;
  long long begun = now_ns();
  pid_t child = vfork();
  if (child == 0) work_then_leave(self, status);
  CHECK(child > 0, "expected a child, saw %s", strerror(errno));
  CHECK(now_ns() - begun >= hold_ms * MILLISECOND, "expected to wait for the child, saw %.1f ms",
        (double)(now_ns() - begun) / 1e6);
  CHECK(steps_of_child > before, "expected steps of the child in our memory");
  while (steps_of_thread == thread_before) nap_ms(1); /* the other thread goes on */
  CHECK_EQ(getpid(), self);
  reap(child, status);
}

int main(int argc, char** argv) {
  pthread_t thread;
  hold_ms = (long long)option(argc, argv, "--hold-ms", 150);
  long long end = end_time(argc, argv);
  ZERO(pthread_create(&thread, NULL, go_on, NULL));
  say("ready");
  while (now_ns() < end) one_vfork(0), one_vfork(9);
  over = 1;
  ZERO(pthread_join(thread, NULL));
  say("ok");
  return 0;
}
