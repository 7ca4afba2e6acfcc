/* Seccomp filters of the program's own: what they refuse, trap or kill, after an exec, in a thread
 * that was there before, and for calls that others may have made in the program's place. Whoever
 * makes a socket is killed: no agent may need one here. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "check.h"

enum { kRefused = 42, kTrapped = 33, kWrappedTrap = 34, kNoExec = 43, kOfThreads = 44 };
enum { kFromHandler = -777 };

static volatile int traps, trap_number, trap_error, trap_code;
static volatile void* trap_place;

static void on_trap(int signal, siginfo_t* info, void* context) {
  CHECK_EQ(signal, SIGSYS);
  ++traps, trap_number = info->si_syscall, trap_error = info->si_errno;
  trap_code = info->si_code, trap_place = info->si_call_addr;
  ((ucontext_t*)context)->uc_mcontext.gregs[REG_RAX] = kFromHandler;
}

struct rule {
  long number;
  unsigned answer;
};

/* Bigger than it has to be: each rule computes its number in a roundabout way. */
static void install(const struct rule* rules, size_t count, unsigned flags) {
  struct sock_filter code[128];
  unsigned short length = 0;
  const struct sock_filter begin[] = {
      BPF_STMT(BPF_ST, 3), /* what stands in A before anything is loaded: 0 */
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_STMT(BPF_LDX | BPF_MEM, 3),
      BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
  };
  for (size_t i = 0; i < sizeof begin / sizeof *begin; ++i) code[length++] = begin[i];
  for (size_t i = 0; i < count; ++i) {
    code[length++] =
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)rules[i].number, 0, 1);
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, rules[i].answer);
  }
  code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {length, code};
  if (flags == 0) {
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
  } else {
    CHECK_EQ(MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program)), 0);
  }
}

static void expect_trap(long result, long number, int error) {
  CHECK_EQ(result, -1), CHECK_EQ(errno, -kFromHandler);
  CHECK_EQ(trap_number, number), CHECK_EQ(trap_error, error);
  CHECK_EQ(trap_code, 1 /* SYS_SECCOMP */);
  CHECK(trap_place != NULL, "expected the place of the call, saw none");
  trap_number = trap_error = 0;
}

static void expect_killed(void) {
  pid_t pid = MUST(fork());
  if (pid == 0) {
    syscall(SYS_socket, 1, 1, 0);
    _exit(0);
  }
  int status = 0;
  CHECK_EQ(MUST(waitpid(pid, &status, 0)), pid);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "expected SIGSYS, saw %#x", status);
}

static void look(void) {
  CHECK_EQ(MUST(prctl(PR_GET_SECCOMP)), SECCOMP_MODE_FILTER);
  MUST_FAIL(syscall(SYS_mkdir, "/nonexistent/x", 0), kRefused);
  expect_trap(syscall(SYS_rmdir, "/nonexistent/x"), SYS_rmdir, kTrapped);
  unsigned long none = 0;
  expect_trap(syscall(SYS_signalfd4, -1, &none, sizeof none, 0), SYS_signalfd4, kWrappedTrap);
  MUST_FAIL(syscall(SYS_execve, "/bin/true", NULL, NULL), kNoExec);
  MUST_FAIL(syscall(SYS_swapoff, "/nonexistent/x"), kOfThreads);
  sigset_t blocked;
  ZERO(pthread_sigmask(SIG_BLOCK, NULL, &blocked));
  CHECK_EQ(sigismember(&blocked, SIGSYS), 0);
}

static volatile int all_installed, over;

static void* other_thread(void* unused) {
  (void)unused;
  while (!all_installed) nap_ms(1);
  while (!over) {
    MUST_FAIL(syscall(SYS_mkdir, "/nonexistent/x", 0), kRefused);
    MUST_FAIL(syscall(SYS_swapoff, "/nonexistent/x"), kOfThreads);
    nap_ms(3);
  }
  return NULL;
}

static void begin(char** argv) {
  const struct rule rules[] = {{SYS_mkdir, SECCOMP_RET_ERRNO | kRefused},
                               {SYS_rmdir, SECCOMP_RET_TRAP | kTrapped},
                               {SYS_signalfd4, SECCOMP_RET_TRAP | kWrappedTrap},
                               {SYS_memfd_create, SECCOMP_RET_KILL_PROCESS},
                               {SYS_socket, SECCOMP_RET_KILL_PROCESS}};
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  install(rules, sizeof rules / sizeof *rules, 0);
  setenv("SANDBOX_IS_THERE", "1", 1);
  MUST(execv("/proc/self/exe", argv));
}

int main(int argc, char** argv) {
  if (getenv("SANDBOX_IS_THERE") == NULL) begin(argv);
  struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
  MUST(sigaction(SIGSYS, &action, NULL));
  const struct rule second[] = {{SYS_execve, SECCOMP_RET_ERRNO | kNoExec},
                                {SYS_mkdir, SECCOMP_RET_LOG}};
  install(second, 2, 0);
  pthread_t thread;
  ZERO(pthread_create(&thread, NULL, other_thread, NULL));
  const struct rule last = {SYS_swapoff, SECCOMP_RET_ERRNO | kOfThreads};
  install(&last, 1, SECCOMP_FILTER_FLAG_TSYNC);
  all_installed = 1;
  say("ready");
  long long end = end_time(argc, argv);
  for (int round = 0; time_left(end); ++round) {
    look();
    if (round % 8 == 0) expect_killed();
    nap_ms(5);
  }
  over = 1;
  ZERO(pthread_join(thread, NULL));
  say("ok");
  return 0;
}
