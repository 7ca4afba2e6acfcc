/* Every way in which a program learns the id of a process, thread, group or session tells the same
 * one: by the C library, by a system call instruction of its own, and by code that it generates.
 * --print-pid prints getpid() first, for a caller who knows the ids from outside. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "callers.h"
#include "check.h"

static caller call;
#define CALL(number, ...) CALL_(number, __VA_ARGS__, 0, 0, 0, 0, 0)
#define CALL_(number, a, b, c, d, e, ...) \
  call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

static volatile sig_atomic_t sender;
static void note_sender(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  sender = info->si_pid;
}

static long me(void) { return CALL(SYS_getpid, 0); }

/* A test that fails must not leave a child behind: it holds the pipe to whom reads our output. */
static void end_with_parent(void) { MUST(prctl(PR_SET_PDEATHSIG, SIGKILL)); }

/* A child that waits to be killed, and what it is called by others. */
static long start_child(void) {
  long child = CALL(SYS_fork, 0);
  if (child == 0) {
    end_with_parent();
    for (;;) CALL(SYS_pause, 0);
  }
  CHECK(child > 0, "expected a child, saw %ld", child);
  return child;
}

static void end_child(long child) {
  int status = 0;
  siginfo_t info;
  memset(&info, 0, sizeof info);
  CHECK_EQ(CALL(SYS_kill, child, SIGKILL), 0);
  CHECK_EQ(CALL(SYS_waitid, P_PID, child, &info, WEXITED | WNOWAIT), 0);
  CHECK_EQ(info.si_pid, child);
  CHECK_EQ(CALL(SYS_wait4, child, &status), child);
  CHECK_EQ(CALL(SYS_kill, child, 0), -ESRCH);
}

static void check_family(void) {
  long own = me(), seen[3];
  int ends[2], status;
  MUST(pipe(ends));
  CHECK_EQ(CALL(SYS_gettid, 0), own);
  CHECK_EQ(CALL(SYS_getpgid, own), CALL(SYS_getpgrp, 0));
  CHECK_EQ(CALL(SYS_getsid, own), CALL(SYS_getsid, 0));
  long child = CALL(SYS_fork, 0);
  if (child == 0) {
    CALL(SYS_setsid, 0);
    seen[0] = me(), seen[1] = CALL(SYS_getppid, 0), seen[2] = CALL(SYS_getsid, 0);
    write_all(ends[1], seen, sizeof seen);
    _exit(seen[2] == seen[0] && CALL(SYS_getpgrp, 0) == seen[0] ? 3 : 4);
  }
  read_all(ends[0], seen, sizeof seen);
  CHECK_EQ(seen[0], child);
  CHECK_EQ(seen[1], own);
  CHECK_EQ(CALL(SYS_wait4, -1, &status), child);
  CHECK_EQ(WEXITSTATUS(status), 3);
  MUST(close(ends[0])), MUST(close(ends[1]));
}

static void check_clone_words(void) {
  int parent_word = 0, child_word = 0, status;
  long child = CALL(SYS_clone, 0x00100000 | 0x01000000 | SIGCHLD, 0, &parent_word, &child_word);
  if (child == 0) _exit(child_word == me() ? 0 : 1);
  CHECK_EQ(parent_word, child);
  CHECK_EQ(CALL(SYS_wait4, child, &status), child);
  CHECK_EQ(status, 0);
}

static void check_groups(void) {
  long child = start_child();
  CHECK_EQ(CALL(SYS_setpgid, child, child), 0);
  CHECK_EQ(CALL(SYS_getpgid, child), child);
  CHECK_EQ(CALL(SYS_kill, -child, 0), 0);
  CHECK_EQ(CALL(SYS_getpriority, PRIO_PGRP, child), 20 - getpriority(PRIO_PROCESS, 0));
  end_child(child);
}

static void check_signals(void) {
  struct sigaction action = {.sa_sigaction = note_sender, .sa_flags = SA_SIGINFO}, old;
  MUST(sigaction(SIGUSR1, &action, &old));
  sender = 0;
  CHECK_EQ(CALL(SYS_kill, me(), SIGUSR1), 0);
  CHECK_EQ(sender, me());
  sender = 0;
  CHECK_EQ(CALL(SYS_tgkill, me(), CALL(SYS_gettid, 0), SIGUSR1), 0);
  CHECK_EQ(sender, me());
  MUST(sigaction(SIGUSR1, &old, &action));
  CHECK(action.sa_sigaction == note_sender, "expected our handler to be told");
  sigset_t set, before;
  sigemptyset(&set), sigaddset(&set, SIGUSR2);
  MUST(sigprocmask(SIG_BLOCK, &set, &before));
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = SIGUSR2, info.si_code = SI_QUEUE, info.si_pid = (pid_t)me();
  CHECK_EQ(CALL(SYS_rt_sigqueueinfo, me(), SIGUSR2, &info), 0);
  memset(&info, 0, sizeof info);
  CHECK_EQ(CALL(SYS_rt_sigtimedwait, &set, &info, NULL, 8), SIGUSR2);
  CHECK_EQ(info.si_pid, me());
  int fd = MUST(signalfd(-1, &set, SFD_CLOEXEC));
  struct signalfd_siginfo record;
  CHECK_EQ(CALL(SYS_tkill, CALL(SYS_gettid, 0), SIGUSR2), 0);
  CHECK_EQ(CALL(SYS_read, fd, &record, sizeof record), sizeof record);
  CHECK_EQ(record.ssi_pid, me());
  MUST(close(fd));
  MUST(sigprocmask(SIG_SETMASK, &before, NULL));
}

static void check_descriptors(void) {
  int ends[2], on = 1;
  struct ucred peer;
  socklen_t size = sizeof peer;
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
  CHECK_EQ(CALL(SYS_getsockopt, ends[0], SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
  CHECK_EQ(peer.pid, me());
  CHECK_EQ(CALL(SYS_fcntl, ends[0], F_SETOWN, me()), 0);
  CHECK_EQ(CALL(SYS_fcntl, ends[0], F_GETOWN), me());
  CHECK_EQ(CALL(SYS_fcntl, ends[0], F_SETOWN, -CALL(SYS_getpgrp, 0)), 0);
  struct f_owner_ex owner;
  CHECK_EQ(CALL(SYS_fcntl, ends[0], F_GETOWN_EX, &owner), 0);
  CHECK_EQ(owner.pid, CALL(SYS_getpgrp, 0));
  CHECK_EQ(owner.type, F_OWNER_PGRP);
  MUST(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  char byte = 'x', control[CMSG_SPACE(sizeof peer)];
  struct iovec piece = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_len = CMSG_LEN(sizeof peer);
  header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_CREDENTIALS;
  peer = (struct ucred){(pid_t)me(), getuid(), getgid()};
  memcpy(CMSG_DATA(header), &peer, sizeof peer);
  CHECK_EQ(CALL(SYS_sendmsg, ends[0], &message, 0), 1);
  memset(control, 0, sizeof control);
  CHECK_EQ(CALL(SYS_recvmsg, ends[1], &message, 0), 1);
  memcpy(&peer, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof peer);
  CHECK_EQ(peer.pid, me());
  MUST(close(ends[0])), MUST(close(ends[1]));
}

static void check_locks(void) {
  int ends[2];
  char byte, path[] = "/tmp/program-lock-XXXXXX";
  int fd = mkstemp(path);
  CHECK(fd >= 0, "expected a file, saw %s", strerror(errno));
  MUST(unlink(path));
  MUST(pipe(ends));
  long child = CALL(SYS_fork, 0);
  if (child == 0) {
    end_with_parent();
    struct flock lock = {.l_type = F_WRLCK, .l_len = 1};
    MUST(fcntl(fd, F_SETLK, &lock));
    write_all(ends[1], "l", 1);
    for (;;) pause();
  }
  read_all(ends[0], &byte, 1);
  struct flock lock = {.l_type = F_WRLCK, .l_len = 1};
  CHECK_EQ(CALL(SYS_fcntl, fd, F_GETLK, &lock), 0);
  CHECK_EQ(lock.l_pid, child);
  end_child(child);
  MUST(close(ends[0])), MUST(close(ends[1])), MUST(close(fd));
}

static void check_system_v(void) {
  struct shmid_ds segment;
  struct msqid_ds queue;
  struct {
    long type;
    char text[1];
  } message = {1, "m"};
  struct sembuf up = {0, 1, 0};
  int shm = MUST(shmget(IPC_PRIVATE, 4096, 0600)), msg = MUST(msgget(IPC_PRIVATE, 0600)),
      sem = MUST(semget(IPC_PRIVATE, 1, 0600));
  MUST(msgsnd(msg, &message, 1, 0));
  MUST(semop(sem, &up, 1));
  long shm_result = CALL(SYS_shmctl, shm, IPC_STAT, &segment),
       msg_result = CALL(SYS_msgctl, msg, IPC_STAT, &queue),
       last = CALL(SYS_semctl, sem, 0, GETPID);
  MUST(shmctl(shm, IPC_RMID, NULL)), MUST(msgctl(msg, IPC_RMID, NULL)),
      MUST(semctl(sem, 0, IPC_RMID));
  CHECK_EQ(shm_result, 0);
  CHECK_EQ(segment.shm_cpid, me());
  CHECK_EQ(msg_result, 0);
  CHECK_EQ(queue.msg_lspid, me());
  CHECK_EQ(last, me());
}

static void check_others(void) {
  static long there = 0x1234567; /* as the child has it, too */
  long child = start_child(), copy = 0;
  struct rlimit limit;
  struct sched_param parameter;
  unsigned long cpus[128], head, size;
  struct iovec here = {&copy, sizeof copy}, far = {&there, sizeof there};
  CHECK_EQ(CALL(SYS_prlimit64, child, RLIMIT_NOFILE, NULL, &limit), 0);
  CHECK_EQ(CALL(SYS_sched_getparam, child, &parameter), 0);
  CHECK(CALL(SYS_sched_getscheduler, child) >= 0, "expected a policy");
  CHECK(CALL(SYS_sched_getaffinity, child, sizeof cpus, cpus) > 0, "expected processors");
  CHECK(CALL(SYS_getpriority, PRIO_PROCESS, child) > 0, "expected a nice value");
  CHECK(CALL(SYS_ioprio_get, 1, child) >= 0, "expected an I/O priority");
  CHECK_EQ(CALL(SYS_get_robust_list, CALL(SYS_gettid, 0), &head, &size), 0);
  long read = CALL(SYS_process_vm_readv, child, &here, 1, &far, 1);
  CHECK(read < 0 || copy == there, "expected the child's memory, saw %#lx", copy);
  clockid_t clock = (clockid_t)((~(unsigned)child << 3) | 2);
  struct timespec time;
  CHECK_EQ(CALL(SYS_clock_gettime, clock, &time), 0);
  int fd = (int)CALL(SYS_pidfd_open, child, 0);
  CHECK(fd >= 0, "expected a pidfd, saw %d", fd);
  MUST(close(fd));
  end_child(child);
  CHECK_EQ(CALL(SYS_sched_getscheduler, child), -ESRCH);
}

static void check_priority_futex(void) {
  unsigned word = 0;
  CHECK_EQ(CALL(SYS_futex, &word, FUTEX_LOCK_PI), 0);
  CHECK_EQ(word & FUTEX_TID_MASK, CALL(SYS_gettid, 0));
  CHECK_EQ(CALL(SYS_futex, &word, FUTEX_UNLOCK_PI), 0);
  CHECK_EQ(word, 0);
}

static int is_listed(const char* path, long id) {
  int found = 0;
  DIR* directory = opendir(path);
  CHECK(directory != NULL, "expected to open %s, saw %s", path, strerror(errno));
  for (struct dirent* entry; (entry = readdir(directory));)
    found |= strtol(entry->d_name, NULL, 10) == id;
  closedir(directory);
  return found;
}

static void check_proc(void) {
  char path[64], text[64] = "", own[16];
  snprintf(own, sizeof own, "%ld", me());
  CHECK_EQ(CALL(SYS_readlink, "/proc/self", text, sizeof text), strlen(own));
  CHECK(strcmp(text, own) == 0, "expected %s, saw %s", own, text);
  snprintf(path, sizeof path, "/proc/%ld/task/%ld/comm", me(), me());
  int fd = (int)CALL(SYS_open, path, O_RDONLY);
  CHECK(fd >= 0, "expected to open %s, saw %d", path, fd);
  MUST(close(fd));
  CHECK_EQ(CALL(SYS_access, path, R_OK), 0);
  CHECK(is_listed("/proc", me()), "expected %s in /proc", own);
  CHECK(is_listed("/proc/self/task", me()), "expected %s in its tasks", own);
  int proc = MUST(open("/proc", O_RDONLY | O_DIRECTORY));
  fd = (int)CALL(SYS_openat, proc, own, O_RDONLY | O_DIRECTORY);
  CHECK(fd >= 0, "expected to open %s in /proc, saw %d", own, fd);
  MUST(close(fd)), MUST(close(proc));
}

static void check_terminal(void) {
  int master = posix_openpt(O_RDWR | O_NOCTTY), status = 0;
  CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "expected a terminal");
  long child = CALL(SYS_fork, 0);
  if (child == 0) {
    int group = 0, session = 0;
    MUST(setsid());
    int slave = MUST(open(ptsname(master), O_RDWR));
    CHECK_EQ(CALL(SYS_ioctl, slave, TIOCGPGRP, &group), 0);
    CHECK_EQ(CALL(SYS_ioctl, slave, TIOCGSID, &session), 0);
    CHECK_EQ(group, me());
    CHECK_EQ(session, me());
    CHECK_EQ(CALL(SYS_ioctl, slave, TIOCSPGRP, &group), 0);
    _exit(0);
  }
  CHECK_EQ(CALL(SYS_wait4, child, &status), child);
  CHECK_EQ(status, 0);
  MUST(close(master));
}

static void* check_thread(void* tid) {
  long* told = tid;
  CHECK(CALL(SYS_gettid, 0) != me(), "expected an id of its own");
  CHECK(is_listed("/proc/self/task", CALL(SYS_gettid, 0)), "expected to be listed");
  *told = CALL(SYS_gettid, 0);
  check_priority_futex();
  return NULL;
}

static void check_all(void) {
  pthread_t thread;
  long tid = 0;
  check_family(), check_clone_words(), check_groups(), check_signals(), check_descriptors();
  check_locks(), check_system_v(), check_others(), check_priority_futex(), check_proc();
  check_terminal();
  ZERO(pthread_create(&thread, NULL, check_thread, &tid));
  ZERO(pthread_join(thread, NULL));
  CHECK(tid > 0, "expected the thread to have run");
}

int main(int argc, char** argv) {
  caller callers[] = {by_library, by_instruction, generated()};
  long long end = end_time(argc, argv);
  for (int i = 1; i < argc; ++i)
    if (strcmp(argv[i], "--print-pid") == 0) printf("%d\n", (int)getpid());
  say("ready");
  do
    for (int i = 0; i < 3; ++i) call = callers[i], check_all();
  while (time_left(end));
  say("ok");
  return 0;
}
