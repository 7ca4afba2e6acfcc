// environment LETTER -- COMMAND...: runs a command where the kernel refuses what a container or a
// hardened host refuses. By a seccomp filter of its own; nothing of the host is changed.
//   a  no namespaces can be made or entered
//   b  other processes can be neither traced, nor read and written by process_vm_readv(2) and
//   _writev,
//      nor asked for their descriptors (pidfd_getfd), nor compared (kcmp)
//   c  both, no capability to be had in any way, no_new_privs: a plain container
//   d  as b, but ptrace is allowed
#include <errno.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int kUsage = 2;
static const int kCannotRun = 127;
static const int kFailed = 1;

static void fail(const char* what, int error) {
  fprintf(stderr, "environment: %s: %s\n", what, strerror(error));
  exit(kFailed);
}

static void refuse_if(scmp_filter_ctx filter, int call, int with,
                      const struct scmp_arg_cmp* argument) {
  int result = argument == NULL
                   ? seccomp_rule_add(filter, SCMP_ACT_ERRNO(with), call, 0)
                   : seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(with), call, 1, argument);
  if (result != 0) fail("cannot make the filter", -result);
}

static void refuse(scmp_filter_ctx filter, int call) { refuse_if(filter, call, EPERM, NULL); }

// A filter cannot look into the structure of clone3; a library that is told that there is none
// takes clone.
static void refuse_namespaces(scmp_filter_ctx filter) {
  static const scmp_datum_t kinds[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                       CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};
  for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); ++i) {
    struct scmp_arg_cmp has = SCMP_A0(SCMP_CMP_MASKED_EQ, kinds[i], kinds[i]);
    refuse_if(filter, SCMP_SYS(unshare), EPERM, &has);
    refuse_if(filter, SCMP_SYS(clone), EPERM, &has);
  }
  // For clone(2) this bit is part of the signal at the child's end.
  struct scmp_arg_cmp has_time = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWTIME, CLONE_NEWTIME);
  refuse_if(filter, SCMP_SYS(unshare), EPERM, &has_time);
  refuse_if(filter, SCMP_SYS(clone3), ENOSYS, NULL);
  refuse(filter, SCMP_SYS(setns));
}

static void refuse_access_to_others(scmp_filter_ctx filter) {
  refuse(filter, SCMP_SYS(process_vm_readv));
  refuse(filter, SCMP_SYS(process_vm_writev));
  refuse(filter, SCMP_SYS(pidfd_getfd));
  refuse(filter, SCMP_SYS(kcmp));
}

static void install(char letter) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  if (filter == NULL) fail("cannot make the filter", ENOMEM);
  if (letter == 'a' || letter == 'c') refuse_namespaces(filter);
  if (letter != 'a') refuse_access_to_others(filter);
  if (letter == 'b' || letter == 'c') refuse(filter, SCMP_SYS(ptrace));
  // Programs of 32 bits run, as they do in containers.
  seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
  // Who may install a filter without it keeps setuid programs.
  seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, letter == 'c' || geteuid() != 0);
  int result = seccomp_load(filter);
  if (result != 0) fail("cannot install the filter", -result);
  seccomp_release(filter);
}

static void drop_capabilities(void) {
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  // An ordinary user may not; no_new_privs keeps the rest away from him.
  for (unsigned long one = 0; prctl(PR_CAPBSET_READ, one, 0, 0, 0) >= 0; ++one) {
    if (prctl(PR_CAPBSET_DROP, one, 0, 0, 0) != 0 && geteuid() == 0) {
      fail("cannot drop a capability from the bounding set", errno);
    }
  }
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
  memset(none, 0, sizeof(none));
  if (syscall(SYS_capset, &header, none) != 0) fail("cannot drop the capabilities", errno);
}

int main(int argc, char** argv) {
  if (argc < 4 || strlen(argv[1]) != 1 || strchr("abcd", argv[1][0]) == NULL ||
      strcmp(argv[2], "--") != 0) {
    fprintf(stderr, "usage: environment a|b|c|d -- COMMAND...\n");
    return kUsage;
  }
  char letter = argv[1][0];
  install(letter);
  if (letter == 'c') drop_capabilities();
  execvp(argv[3], argv + 3);
  fprintf(stderr, "environment: cannot run %s: %s\n", argv[3], strerror(errno));
  return kCannotRun;
}
