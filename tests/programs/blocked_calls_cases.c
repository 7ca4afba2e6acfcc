/* The calls of blocked_calls. A case with a waker blocks without limit. */
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>

#include "blocked_calls.h"
#include "check.h"

static struct timespec limit(struct Case* it) { return check_timespec(it->duration); }

static sigset_t only(int signal_number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal_number);
  return set;
}

/* Pipe: the blocked thread has fd[0], the waker writes to fd[1]. */
static void make_pipe(struct Case* it) { MUST(pipe(it->fd)); }

static void write_byte(struct Case* it) { write_all(it->fd[1], "x", 1); }

static void take_byte(struct Case* it) {
  char byte = 0;
  read_all(it->fd[0], &byte, 1);
  CHECK_EQ(byte, 'x');
}

static void do_nanosleep(struct Case* it) {
  struct timespec time = limit(it);
  MUST(nanosleep(&time, NULL));
}

static void do_clock_nanosleep(struct Case* it) {
  struct timespec time = limit(it);
  ZERO(clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL));
}

static void do_clock_nanosleep_until(struct Case* it) { sleep_until(it->deadline); }

static void expect_poll(struct Case* it, int timeout_ms, int ready) {
  struct pollfd fd = {.fd = it->fd[0], .events = POLLIN};
  CHECK_EQ(MUST(poll(&fd, 1, timeout_ms)), ready);
  CHECK_EQ(fd.revents, ready ? POLLIN : 0);
  if (ready) take_byte(it);
}

static void do_poll(struct Case* it) { expect_poll(it, (int)(it->duration / MILLISECOND), 0); }
static void do_poll_woken(struct Case* it) { expect_poll(it, -1, 1); }

static void do_ppoll(struct Case* it) {
  struct pollfd fd = {.fd = it->fd[0], .events = POLLIN};
  struct timespec time = limit(it);
  sigset_t mask = only(SIGUSR2);
  CHECK_EQ(MUST(ppoll(&fd, 1, &time, &mask)), 0);
}

static void do_ppoll_woken(struct Case* it) {
  struct pollfd fd = {.fd = it->fd[0], .events = POLLIN};
  sigset_t mask = only(SIGUSR2);
  CHECK_EQ(MUST(ppoll(&fd, 1, NULL, &mask)), 1);
  take_byte(it);
}

static void make_epoll(struct Case* it) {
  make_pipe(it);
  it->epoll = MUST(epoll_create1(0));
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 4711};
  MUST(epoll_ctl(it->epoll, EPOLL_CTL_ADD, it->fd[0], &event));
}

static void expect_epoll(struct Case* it, int seen, const struct epoll_event* event, int ready) {
  CHECK_EQ(seen, ready);
  if (!ready) return;
  CHECK(event->data.u64 == 4711 && event->events == EPOLLIN, "expected the event as registered");
  take_byte(it);
}

static void do_epoll_wait(struct Case* it) {
  struct epoll_event event;
  int seen = MUST(epoll_wait(it->epoll, &event, 1, (int)(it->duration / MILLISECOND)));
  expect_epoll(it, seen, &event, 0);
}

static void do_epoll_wait_woken(struct Case* it) {
  struct epoll_event event;
  expect_epoll(it, MUST(epoll_wait(it->epoll, &event, 1, -1)), &event, 1);
}

static void do_epoll_pwait(struct Case* it) {
  struct epoll_event event;
  sigset_t mask = only(SIGUSR2);
  int timeout_ms = (int)(it->duration / MILLISECOND);
  expect_epoll(it, MUST(epoll_pwait(it->epoll, &event, 1, timeout_ms, &mask)), &event, 0);
}

static void do_epoll_pwait_woken(struct Case* it) {
  struct epoll_event event;
  sigset_t mask = only(SIGUSR2);
  expect_epoll(it, MUST(epoll_pwait(it->epoll, &event, 1, -1, &mask)), &event, 1);
}

static void do_epoll_pwait2(struct Case* it) {
  struct epoll_event event;
  struct timespec time = limit(it);
  sigset_t mask = only(SIGUSR2);
  expect_epoll(it, MUST(epoll_pwait2(it->epoll, &event, 1, &time, &mask)), &event, 0);
}

static void do_epoll_pwait2_woken(struct Case* it) {
  struct epoll_event event;
  sigset_t mask = only(SIGUSR2);
  expect_epoll(it, MUST(epoll_pwait2(it->epoll, &event, 1, NULL, &mask)), &event, 1);
}

static void do_select(struct Case* it) {
  struct timeval time = {it->duration / SECOND, it->duration % SECOND / 1000};
  fd_set fds;
  FD_ZERO(&fds);
  FD_SET(it->fd[0], &fds);
  CHECK_EQ(MUST(select(it->fd[0] + 1, &fds, NULL, NULL, &time)), 0);
  CHECK(time.tv_sec == 0 && time.tv_usec == 0, "expected no time left, saw %ld us",
        (long)time.tv_usec);
  CHECK(!FD_ISSET(it->fd[0], &fds), "expected an empty set");
}

static void do_select_woken(struct Case* it) {
  fd_set fds;
  FD_ZERO(&fds);
  FD_SET(it->fd[0], &fds);
  CHECK_EQ(MUST(select(it->fd[0] + 1, &fds, NULL, NULL, NULL)), 1);
  take_byte(it);
}

static void do_pselect(struct Case* it) {
  struct timespec time = limit(it);
  sigset_t mask = only(SIGUSR2);
  CHECK_EQ(MUST(pselect(0, NULL, NULL, NULL, &time, &mask)), 0);
}

static long futex(struct Case* it, int operation, int value, struct timespec* time) {
  return syscall(SYS_futex, &it->word, operation, value, time, NULL, FUTEX_BITSET_MATCH_ANY);
}

static void do_futex(struct Case* it) {
  struct timespec time = limit(it);
  MUST_FAIL(futex(it, FUTEX_WAIT_PRIVATE, 0, &time), ETIMEDOUT);
}

static void do_futex_until(struct Case* it) {
  struct timespec time = check_timespec(it->deadline);
  MUST_FAIL(futex(it, FUTEX_WAIT_BITSET_PRIVATE, 0, &time), ETIMEDOUT);
}

/* A waiter that was stopped at the wrong moment is woken by the changed word alone, and the kernel
 * then says EAGAIN. */
static void do_futex_woken(struct Case* it) {
  long result = futex(it, FUTEX_WAIT_PRIVATE, 0, NULL);
  CHECK(result == 0 || errno == EAGAIN, "expected 0 or EAGAIN, saw %s", strerror(errno));
  CHECK_EQ(__atomic_exchange_n(&it->word, 0, __ATOMIC_SEQ_CST), 1);
}

static void wake_futex(struct Case* it) {
  __atomic_store_n(&it->word, 1, __ATOMIC_SEQ_CST);
  MUST(futex(it, FUTEX_WAKE_PRIVATE, 1, NULL));
}

static void do_sem_clockwait(struct Case* it) {
  sem_t semaphore;
  struct timespec time = check_timespec(it->deadline);
  MUST(sem_init(&semaphore, 0, 0));
  MUST_FAIL(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &time), ETIMEDOUT);
}

static void do_sem_timedwait(struct Case* it) {
  sem_t semaphore;
  long long deadline = clock_ns(CLOCK_REALTIME) + it->duration;
  struct timespec time = check_timespec(deadline);
  MUST(sem_init(&semaphore, 0, 0));
  MUST_FAIL(sem_timedwait(&semaphore, &time), ETIMEDOUT);
  CHECK(clock_ns(CLOCK_REALTIME) >= deadline, "expected the time to be over, saw %lld ns left",
        deadline - clock_ns(CLOCK_REALTIME));
}

static void do_sigtimedwait(struct Case* it) {
  struct timespec time = limit(it);
  sigset_t set = only(SIGUSR2);
  MUST_FAIL(sigtimedwait(&set, NULL, &time), EAGAIN);
}

static void do_sigwaitinfo(struct Case* it) {
  (void)it;
  siginfo_t info;
  sigset_t set = only(SIGUSR2);
  CHECK_EQ(MUST(sigwaitinfo(&set, &info)), SIGUSR2);
  CHECK_EQ(info.si_pid, getpid());
}

static void send_sigusr2(struct Case* it) { ZERO(pthread_kill(it->blocked, SIGUSR2)); }
static void send_sigusr1(struct Case* it) { ZERO(pthread_kill(it->blocked, SIGUSR1)); }

static void do_pause(struct Case* it) {
  (void)it;
  MUST_FAIL(pause(), EINTR);
}

static void do_sigsuspend(struct Case* it) {
  (void)it;
  sigset_t mask = only(SIGUSR2);
  MUST_FAIL(sigsuspend(&mask), EINTR);
}

static void do_wait4(struct Case* it) {
  pid_t child = MUST(fork());
  if (child == 0) {
    sleep_until(it->deadline);
    _exit(7);
  }
  reap(child, 7);
}

/* A process of one thread, which calls by a number that only a register has. */
static void do_wait_by_number(struct Case* it) {
  long long left = (it->deadline - now_ns()) / MILLISECOND;
  int timeout_ms = left > 0 ? (int)left : 0; /* less would be without limit */
  pid_t child = MUST(fork());
  if (child == 0) {
    struct epoll_event event;
    CHECK_EQ(MUST(syscall(SYS_epoll_wait, it->epoll, &event, 1, timeout_ms)), 0);
    _exit(7);
  }
  reap(child, 7);
}

static void do_timerfd(struct Case* it) {
  struct itimerspec time = {.it_value = limit(it)};
  unsigned long long expirations = 0;
  int fd = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  MUST(timerfd_settime(fd, 0, &time, NULL));
  read_all(fd, &expirations, sizeof expirations);
  CHECK_EQ(expirations, 1);
  MUST(close(fd));
}

/* Sockets: the blocked thread has fd[0], whose timeout is the end, or too far away to be reached.
 */
static void make_sockets(struct Case* it, int which, long long factor) {
  long long ns = factor * it->duration;
  struct timeval time = {ns / SECOND, ns % SECOND / 1000};
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, it->fd));
  MUST(setsockopt(it->fd[0], SOL_SOCKET, which, &time, sizeof time));
}

static void make_receiver(struct Case* it) { make_sockets(it, SO_RCVTIMEO, 1); }
static void make_patient_receiver(struct Case* it) { make_sockets(it, SO_RCVTIMEO, 10); }

static void do_recv_timeout(struct Case* it) {
  char byte;
  MUST_FAIL(recv(it->fd[0], &byte, 1, 0), EAGAIN);
}

static void do_recv_woken(struct Case* it) {
  char byte = 0;
  CHECK_EQ(MUST(recv(it->fd[0], &byte, 1, 0)), 1);
  CHECK_EQ(byte, 'x');
}

static void make_small_sender(struct Case* it, long long factor) {
  int least = 1;
  make_sockets(it, SO_SNDTIMEO, factor);
  MUST(setsockopt(it->fd[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof least));
}

static void make_sender(struct Case* it) { make_small_sender(it, 1); }
static void make_patient_sender(struct Case* it) { make_small_sender(it, 10); }

static void fill_queue(struct Case* it) {
  const char bytes[64] = "";
  while (send(it->fd[0], bytes, sizeof bytes, MSG_DONTWAIT) > 0) continue;
  CHECK_EQ(errno, EAGAIN);
}

static void empty_queue(struct Case* it) {
  char bytes[4096];
  while (recv(it->fd[1], bytes, sizeof bytes, MSG_DONTWAIT) > 0) continue;
  CHECK_EQ(errno, EAGAIN);
}

static void do_send_timeout(struct Case* it) {
  fill_queue(it);
  MUST_FAIL(send(it->fd[0], "x", 1, 0), EAGAIN);
}

static void do_send_woken(struct Case* it) {
  fill_queue(it);
  CHECK_EQ(MUST(send(it->fd[0], "x", 1, 0)), 1);
}

/* fd[0] and fd[1] are two descriptions of one file; fd[1] has the lock until the waker gives it up.
 */
static const char* lock_path;

static void make_lock(struct Case* it) {
  lock_path = temporary_directory();
  it->fd[0] = MUST(open(lock_path, O_RDONLY | O_DIRECTORY));
  it->fd[1] = MUST(open(lock_path, O_RDONLY | O_DIRECTORY));
  MUST(flock(it->fd[1], LOCK_EX));
}

static void remove_lock(struct Case* it) {
  (void)it;
  MUST(rmdir(lock_path));
}

static void unlock(struct Case* it) { MUST(flock(it->fd[1], LOCK_UN)); }

static void do_flock(struct Case* it) {
  MUST(flock(it->fd[0], LOCK_EX));
  MUST(flock(it->fd[0], LOCK_UN));
  MUST(flock(it->fd[1], LOCK_EX));
}

struct Case blocked_cases[] = {
    {.name = "nanosleep", .call = do_nanosleep},
    {.name = "clock_nanosleep", .call = do_clock_nanosleep},
    {.name = "clock_nanosleep until", .call = do_clock_nanosleep_until},
    {.name = "poll", .call = do_poll, .set_up = make_pipe},
    {.name = "poll woken", .call = do_poll_woken, .wake = write_byte, .set_up = make_pipe},
    {.name = "ppoll", .call = do_ppoll, .set_up = make_pipe},
    {.name = "ppoll woken", .call = do_ppoll_woken, .wake = write_byte, .set_up = make_pipe},
    {.name = "epoll_wait", .call = do_epoll_wait, .set_up = make_epoll},
    {.name = "epoll_wait woken",
     .call = do_epoll_wait_woken,
     .wake = write_byte,
     .set_up = make_epoll},
    {.name = "epoll_pwait", .call = do_epoll_pwait, .set_up = make_epoll},
    {.name = "epoll_pwait woken",
     .call = do_epoll_pwait_woken,
     .wake = write_byte,
     .set_up = make_epoll},
    {.name = "epoll_pwait2", .call = do_epoll_pwait2, .set_up = make_epoll},
    {.name = "epoll_pwait2 woken",
     .call = do_epoll_pwait2_woken,
     .wake = write_byte,
     .set_up = make_epoll},
    {.name = "select", .call = do_select, .set_up = make_pipe},
    {.name = "select woken", .call = do_select_woken, .wake = write_byte, .set_up = make_pipe},
    {.name = "pselect", .call = do_pselect},
    {.name = "futex", .call = do_futex},
    {.name = "futex until", .call = do_futex_until},
    {.name = "futex woken", .call = do_futex_woken, .wake = wake_futex},
    {.name = "sem_clockwait", .call = do_sem_clockwait},
    {.name = "sem_timedwait", .call = do_sem_timedwait, .may_be_early = 1},
    {.name = "sigtimedwait", .call = do_sigtimedwait},
    {.name = "sigwaitinfo woken", .call = do_sigwaitinfo, .wake = send_sigusr2},
    {.name = "pause woken", .call = do_pause, .wake = send_sigusr1},
    {.name = "sigsuspend woken", .call = do_sigsuspend, .wake = send_sigusr1},
    {.name = "read woken", .call = take_byte, .wake = write_byte, .set_up = make_pipe},
    {.name = "wait4 woken", .call = do_wait4},
    {.name = "wait by number", .call = do_wait_by_number, .set_up = make_epoll},
    {.name = "timerfd", .call = do_timerfd},
    {.name = "recv", .call = do_recv_timeout, .set_up = make_receiver, .may_be_late = 1},
    {.name = "recv woken",
     .call = do_recv_woken,
     .wake = write_byte,
     .set_up = make_patient_receiver},
    {.name = "send",
     .call = do_send_timeout,
     .set_up = make_sender,
     .may_be_late = 1,
     .of_full_queue = 1},
    {.name = "send woken",
     .call = do_send_woken,
     .wake = empty_queue,
     .set_up = make_patient_sender,
     .of_full_queue = 1},
    {.name = "flock woken",
     .call = do_flock,
     .wake = unlock,
     .set_up = make_lock,
     .tear_down = remove_lock},
};
const int blocked_case_count = sizeof blocked_cases / sizeof blocked_cases[0];
