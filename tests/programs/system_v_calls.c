/* The calls of blocked_calls.c on System V semaphores and message queues. Nobody but a child that
 * has ended has used what they wait for, so that nothing in /proc leads from it to this program. */
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#include "blocked_calls.h"
#include "check.h"

struct Message {
  long type;
  char text[1];
};

static void make_semaphore(struct Case* it) { it->word = MUST(semget(IPC_PRIVATE, 1, 0600)); }
static void remove_semaphore(struct Case* it) { MUST(semctl(it->word, 0, IPC_RMID)); }
static void make_queue(struct Case* it) { it->word = MUST(msgget(IPC_PRIVATE, 0600)); }
static void remove_queue(struct Case* it) { MUST(msgctl(it->word, IPC_RMID, NULL)); }

static struct sembuf by_one(int change) { return (struct sembuf){0, (short)change, 0}; }

/* The call itself: a C library may make the other one of it. */
static void do_semop(struct Case* it) {
  struct sembuf down = by_one(-1);
  MUST(syscall(SYS_semop, it->word, &down, 1L));
}

static void raise_semaphore(struct Case* it) {
  struct sembuf up = by_one(1);
  MUST(semop(it->word, &up, 1));
}

static void do_semtimedop(struct Case* it) {
  struct sembuf down = by_one(-1);
  struct timespec time = check_timespec(it->duration);
  MUST_FAIL(semtimedop(it->word, &down, 1, &time), EAGAIN);
}

static void put_message(struct Case* it) {
  struct Message message = {1, "m"};
  MUST(msgsnd(it->word, &message, sizeof message.text, 0));
}

static void take_message(struct Case* it) {
  struct Message message = {0, ""};
  CHECK_EQ(MUST(msgrcv(it->word, &message, sizeof message.text, 0, 0)), sizeof message.text);
}

static void make_full_queue(struct Case* it) {
  make_queue(it);
  pid_t child = MUST(fork());
  if (child == 0) {
    struct Message message = {1, "m"};
    while (msgsnd(it->word, &message, sizeof message.text, IPC_NOWAIT) == 0) continue;
    CHECK_EQ(errno, EAGAIN);
    _exit(0);
  }
  reap(child, 0);
}

struct Case blocked_cases[] = {
    {.name = "semop woken",
     .call = do_semop,
     .wake = raise_semaphore,
     .set_up = make_semaphore,
     .tear_down = remove_semaphore},
    {.name = "semtimedop",
     .call = do_semtimedop,
     .set_up = make_semaphore,
     .tear_down = remove_semaphore},
    {.name = "msgrcv woken",
     .call = take_message,
     .wake = put_message,
     .set_up = make_queue,
     .tear_down = remove_queue},
    {.name = "msgsnd woken",
     .call = put_message,
     .wake = take_message,
     .set_up = make_full_queue,
     .tear_down = remove_queue},
};
const int blocked_case_count = sizeof blocked_cases / sizeof blocked_cases[0];
