/* The calls of blocked_calls.c on what torpor names and refuses before it stops anything: listening
 * sockets, contexts of asynchronous I/O. */
#include <linux/aio_abi.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>

#include "blocked_calls.h"
#include "check.h"

/* fd[0] listens, and waits for as long as said. */
static void listen_for(struct Case* it, long long ns) {
  struct sockaddr_un name = {.sun_family = AF_UNIX}; /* the kernel chooses one */
  struct timeval time = {ns / SECOND, ns % SECOND / 1000};
  it->fd[0] = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  MUST(bind(it->fd[0], (struct sockaddr*)&name, sizeof name.sun_family));
  MUST(listen(it->fd[0], 1));
  MUST(setsockopt(it->fd[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
}

static void make_listener(struct Case* it) { listen_for(it, it->duration); }
static void make_patient_listener(struct Case* it) { listen_for(it, 10 * it->duration); }

static void do_accept(struct Case* it) { MUST_FAIL(accept(it->fd[0], NULL, NULL), EAGAIN); }
static void do_accept_woken(struct Case* it) { MUST(close(MUST(accept(it->fd[0], NULL, NULL)))); }

static void call_listener(struct Case* it) {
  struct sockaddr_un name;
  socklen_t size = sizeof name;
  MUST(getsockname(it->fd[0], (struct sockaddr*)&name, &size));
  int caller = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  MUST(connect(caller, (struct sockaddr*)&name, size));
  MUST(close(caller));
}

static aio_context_t events;
static void make_context(struct Case* it) {
  (void)it;
  MUST(syscall(SYS_io_setup, 1, &events));
}

static void do_io_getevents(struct Case* it) {
  struct io_event event;
  struct timespec time = check_timespec(it->duration);
  CHECK_EQ(MUST(syscall(SYS_io_getevents, events, 1L, 1L, &event, &time)), 0);
}

struct Case blocked_cases[] = {
    {.name = "accept", .call = do_accept, .set_up = make_listener, .may_be_late = 1},
    {.name = "accept woken",
     .call = do_accept_woken,
     .wake = call_listener,
     .set_up = make_patient_listener},
    {.name = "io_getevents", .call = do_io_getevents, .set_up = make_context},
};
const int blocked_case_count = sizeof blocked_cases / sizeof blocked_cases[0];
