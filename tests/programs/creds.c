/* Who the process is and what it may: ids, groups, capabilities, no_new_privs, dumpable, keepcaps,
 * securebits, subreaper, personality, limits, umask, oom_score_adj, nice, coredump filter. Root
 * besides has different real, effective and saved ids and supplementary groups. */
#include <grp.h>
#include <sys/fsuid.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "snapshot.h"

enum { kUmask = 0027, kNice = 3 };

static void write_text(const char* path, const char* text) {
  int fd = MUST(open(path, O_WRONLY));
  write_all(fd, text, strlen(text));
  MUST(close(fd));
}

static void limit(int resource, rlim_t soft, rlim_t hard) {
  struct rlimit value = {soft, hard};
  MUST(setrlimit((__rlimit_resource_t)resource, &value));
}

/* What only root may, as far as this root may. */
static void set_up_root(void) {
  const gid_t groups[] = {3, 1000, 70000};
  if (setgroups(3, groups) != 0 || setresgid(11, 12, 13) != 0 || setfsgid(12) != 12)
    fprintf(stderr, "skipped: groups of our own, %s\n", strerror(errno));
  if (prctl(PR_SET_SECUREBITS, 1 << 2 /* SECBIT_NO_SETUID_FIXUP */) != 0)
    fprintf(stderr, "skipped: securebits of our own, %s\n", strerror(errno));
  if (prctl(PR_CAPBSET_DROP, 25 /* CAP_SYS_TIME */) != 0)
    fprintf(stderr, "skipped: a bounding set of our own, %s\n", strerror(errno));
  MUST(prctl(PR_SET_DUMPABLE, 1)); /* changing ids took it away, and with it our own /proc files */
}

static void set_up(void) {
  umask(kUmask);
  if (geteuid() == 0) set_up_root();
  write_text("/proc/self/oom_score_adj", "321");
  write_text("/proc/self/coredump_filter", "0x2b");
  MUST(setpriority(PRIO_PROCESS, 0, kNice));
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  if (prctl(PR_SET_KEEPCAPS, 1) != 0) fprintf(stderr, "skipped: keepcaps, %s\n", strerror(errno));
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
  MUST(personality(ADDR_NO_RANDOMIZE | UNAME26));
  limit(RLIMIT_NOFILE, 100, 200), limit(RLIMIT_CORE, 0, 4096), limit(RLIMIT_CPU, 1000, 2000);
  limit(RLIMIT_FSIZE, 1 << 20, RLIM_INFINITY), limit(RLIMIT_MEMLOCK, 4096, 8192);
  limit(RLIMIT_SIGPENDING, 50, 60), limit(RLIMIT_STACK, 2 << 20, 4 << 20);
}

static void observe_limits(struct Snapshot* it) {
  for (int i = 0; i < (int)RLIMIT_NLIMITS; ++i) {
    struct rlimit value;
    MUST(getrlimit((__rlimit_resource_t)i, &value));
    add(it, "limit %d: %llu %llu\n", i, (unsigned long long)value.rlim_cur,
        (unsigned long long)value.rlim_max);
  }
}

static void observe_ids(struct Snapshot* it) {
  uid_t u[3];
  gid_t g[3], groups[64];
  MUST(getresuid(&u[0], &u[1], &u[2])), MUST(getresgid(&g[0], &g[1], &g[2]));
  add(it, "uids %u %u %u %d gids %u %u %u %d\n", u[0], u[1], u[2], setfsuid((uid_t)-1), g[0], g[1],
      g[2], setfsgid((gid_t)-1));
  int count = MUST(getgroups(64, groups));
  for (int i = 0; i < count; ++i) add(it, "group %u\n", groups[i]);
}

static void observe(struct Snapshot* it) {
  static const char* const kLines[] = {
      "Umask:",  "Uid:",    "Gid:",    "Groups:",     "CapInh:",  "CapPrm:",
      "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:", NULL};
  int subreaper = 0;
  it->size = 0;
  observe_ids(it);
  observe_limits(it);
  MUST(prctl(PR_GET_CHILD_SUBREAPER, &subreaper));
  add(it, "subreaper %d\n", subreaper);
  add(it, "no_new_privs %d\n", MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
  add(it, "keepcaps %d\n", MUST(prctl(PR_GET_KEEPCAPS)));
  add(it, "securebits %#x\n", (unsigned)MUST(prctl(PR_GET_SECUREBITS)));
  add(it, "dumpable %d\n", MUST(prctl(PR_GET_DUMPABLE)));
  add(it, "thp_disable %d\n", MUST(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)));
  add(it, "personality %#x\n", (unsigned)personality(0xffffffff));
  add(it, "nice %d\n", getpriority(PRIO_PROCESS, 0));
  add(it, "oom_score_adj %s", read_text("/proc/self/oom_score_adj", NULL));
  add(it, "coredump_filter %s", read_text("/proc/self/coredump_filter", NULL));
  add_lines(it, read_text("/proc/self/status", NULL), kLines);
}

/* Some of it by its effect. */
static void check_effects(const char* directory) {
  struct stat made;
  const char* path = in_directory(directory, "made");
  int fd = MUST(open(path, O_WRONLY | O_CREAT | O_EXCL, 0666));
  MUST(fstat(fd, &made));
  CHECK_EQ(made.st_mode, S_IFREG | (0666 & ~kUmask));
  CHECK_EQ(made.st_uid, geteuid()), CHECK_EQ(made.st_gid, getegid());
  MUST(close(fd)), MUST(unlink(path));
  MUST_FAIL(fcntl(1, F_DUPFD, 100), EINVAL); /* over the soft limit */
}

int main(int argc, char** argv) {
  static struct Snapshot first, now;
  set_up();
  const char* directory = temporary_directory();
  observe(&first);
  say("ready");
  for (long long end = end_time(argc, argv); time_left(end);) {
    observe(&now);
    compare(&first, &now);
    check_effects(directory);
  }
  MUST(rmdir(directory));
  say("ok");
  return 0;
}
