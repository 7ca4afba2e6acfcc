// Calls that are described by their columns: each id in them once of somebody, once of nobody.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "ids_rows.h"

namespace rows {
namespace {

constexpr long kHere = -100;  // AT_FDCWD

bool is_path(Id kind) { return kind == Id::kPath || kind == Id::kPathAt; }

bool is_given_id(Id kind) {
  return kind == Id::kProcess || kind == Id::kThread || kind == Id::kGroup || kind == Id::kSigned ||
         kind == Id::kClock || kind == Id::kEventIn || kind == Id::kCapability;
}

// Arguments of one call, and what they point to.
struct Arguments {
  long list[6] = {};
  alignas(64) char room[3][512] = {};
  int opened = -1;  // for this call only

  Arguments() = default;
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  ~Arguments() {
    if (opened >= 0) close(opened);
  }
  template <typename T>
  T* at(int which) {
    return reinterpret_cast<T*>(room[which]);
  }
  void point(int argument, int which) { list[argument] = (long)room[which]; }
  void text(int argument, const char* words) { list[argument] = (long)words; }
};

void prepare_scheduling(const IdCall& row, Arguments& a) {
  if (is(row, "sched_setparam") || is(row, "sched_getparam")) a.point(1, 0);
  if (is(row, "sched_setscheduler")) a.point(2, 0);
  if (is(row, "sched_rr_get_interval")) a.point(1, 0);
  if (is(row, "sched_setaffinity") || is(row, "sched_getaffinity")) {
    MUST(sched_getaffinity(0, sizeof a.room[0], a.at<cpu_set_t>(0)));
    a.list[1] = sizeof a.room[0], a.point(2, 0);
  }
  if (is(row, "sched_setattr")) *a.at<unsigned>(0) = 48, a.point(1, 0);
  if (is(row, "sched_getattr")) a.point(1, 0), a.list[2] = 48;
  if (is(row, "setpriority PRIO_PROCESS") || is(row, "setpriority PRIO_PGRP")) {
    a.list[2] = getpriority(PRIO_PROCESS, 0);
  }
}

void prepare_memory(const IdCall& row, Arguments& a) {
  static long there;
  if (is(row, "process_vm_readv") || is(row, "process_vm_writev")) {
    *a.at<iovec>(0) = {a.room[2], sizeof there}, *a.at<iovec>(1) = {&there, sizeof there};
    a.point(1, 0), a.list[2] = 1, a.point(3, 1), a.list[4] = 1;
  }
  if (is(row, "kcmp")) a.list[2] = 1;  // KCMP_VM
  if (is(row, "perf_event_open")) {
    auto* event = a.at<perf_event_attr>(0);
    event->size = sizeof *event, event->type = PERF_TYPE_SOFTWARE;
    event->exclude_kernel = event->exclude_hv = 1;
    a.point(0, 0), a.list[2] = a.list[3] = -1;
  }
  if (is(row, "get_robust_list")) a.point(1, 0), a.point(2, 1);
  if (is(row, "set_tid_address")) a.list[0] = (long)&there;
  if (is(row, "prlimit64")) a.list[1] = RLIMIT_NOFILE, a.point(3, 0);
}

void prepare_clock(const IdCall& row, Arguments& a) {
  if (std::strncmp(row.name, "clock_", 6) == 0) a.point(is(row, "clock_nanosleep") ? 2 : 1, 0);
  if (is(row, "timer_create")) {
    a.at<sigevent>(0)->sigev_notify = SIGEV_NONE;
    a.point(1, 0), a.point(2, 1);
  }
}

// What stands beside the paths.
void prepare_path(const IdCall& row, Arguments& a) {
  const std::string name = row.name;
  if (name == "openat2") a.point(2, 0), a.list[3] = 24;
  if (name == "symlink" || name == "symlinkat") a.text(0, "x");
  if (name == "name_to_handle_at") a.point(2, 0), a.point(3, 1);
  if (name == "file_getattr" || name == "file_setattr") a.point(2, 0), a.list[3] = 24;
  if (name == "mount_setattr") a.point(3, 0), a.list[4] = 32;
  if (name.ends_with("xattr")) a.text(1, name.find("list") == name.npos ? "user.x" : nullptr);
  if (name.ends_with("xattrat") && name != "listxattrat") {
    a.text(3, "user.x"), a.point(4, 0), a.list[5] = 16;
  }
  if (name == "chown" || name == "lchown") a.list[1] = a.list[2] = -1;
  if (name == "fchownat") a.list[2] = a.list[3] = -1;
  if (name == "inotify_add_watch") a.list[0] = a.opened = inotify_init(), a.list[2] = IN_OPEN;
  if (name == "fanotify_mark") {
    a.opened = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, 0);
    a.list[0] = a.opened, a.list[1] = FAN_MARK_ADD, a.list[2] = FAN_OPEN;
  }
  static const char* words[] = {"x", nullptr};
  if (name == "execve") a.list[1] = (long)words, a.list[2] = (long)(words + 1);
  if (name == "execveat") a.list[2] = (long)words, a.list[3] = (long)(words + 1);
}

long usual_id(const IdCall& row, Id kind) {
  if (is(row, "getsid")) return people.servant;
  if (kind == Id::kCapability) return people.me;
  if (kind == Id::kEventIn) return people.thread;
  const bool of_two = row.args[0] == Id::kProcess;  // tgkill: a process and its thread
  return kind == Id::kThread && !of_two ? people.thread : people.child;
}

void put_id(const IdCall& row, int argument, long id, Arguments& a) {
  a.list[argument] = id;
  switch (row.args[argument]) {
    case Id::kClock: a.list[argument] = (int)(~(unsigned)id << 3) | 2; return;
    case Id::kEventIn: {
      auto* event = a.at<sigevent>(0);
      event->sigev_notify = SIGEV_THREAD_ID, event->sigev_signo = SIGUSR2;
      event->_sigev_un._tid = (int)id;
      return a.point(argument, 0);
    }
    case Id::kCapability: {
      auto* header = a.at<__user_cap_header_struct>(1);
      *header = {_LINUX_CAPABILITY_VERSION_3, 0};
      MUST(syscall(SYS_capget, header, a.room[0]));
      header->pid = (int)id;
      a.point(argument, 1), a.point(1, 0);
      return;
    }
    default: return;
  }
}

void prepare(const IdCall& row, Arguments& a) {
  a.list[row.when.argument] |= (int)row.when.value;
  prepare_scheduling(row, a), prepare_memory(row, a), prepare_clock(row, a), prepare_path(row, a);
  for (int i = 0; i < 6; ++i) {
    if (is_given_id(row.args[i])) put_id(row, i, usual_id(row, row.args[i]), a);
    if (row.args[i] == Id::kInfoIn) {
      auto* info = a.at<siginfo_t>(0);
      info->si_code = SI_QUEUE, info->si_pid = (int)people.me;
      a.point(i, 0);
    }
  }
}

bool makes_descriptor(const IdCall& row) {
  for (const char* name : {"open", "creat", "openat", "openat2", "open_tree", "open_tree_attr",
                           "fspick", "pidfd_open", "perf_event_open"}) {
    if (is(row, name)) return true;
  }
  return false;
}

long make(const Caller& by, const IdCall& row, Arguments& a) {
  const auto& l = a.list;
  long result = by.call(row.number, l[0], l[1], l[2], l[3], l[4], l[5]);
  if (result >= 0 && makes_descriptor(row)) close((int)result);
  if (result >= 0 && is(row, "timer_create")) syscall(SYS_timer_delete, *a.at<int>(1));
  return result > 0 && row.result == Id::kNone ? 0 : result;
}

Told told_of_id(const Caller& by, const IdCall& row, int argument, long id) {
  Told told;
  for (const long one : {id, -id}) {
    if (one < 0 && row.args[argument] != Id::kSigned) continue;
    Arguments a;
    prepare(row, a);
    put_id(row, argument, one, a);
    told.push_back(make(by, row, a));
  }
  return told;
}

long told_of_path(const Caller& by, const IdCall& row, int argument, long from, const char* path) {
  Arguments a;
  prepare(row, a);
  const std::string usual = "/proc/" + std::to_string(people.child) + "/comm";
  for (int i = 0; i < 6; ++i) {
    if (is_path(row.args[i])) a.text(i, usual.c_str());
    if (row.args[i] == Id::kPathAt) a.list[i - 1] = kHere;
  }
  a.text(argument, path);
  if (row.args[argument] == Id::kPathAt) a.list[argument - 1] = from;
  return make(by, row, a);
}

Told told_of_paths(const Caller& by, const IdCall& row, int argument, long child, long thread) {
  const std::string relative = std::to_string(child) + "/comm", whole = "/proc/" + relative;
  const std::string task = "/proc/self/task/" + std::to_string(thread) + "/comm";
  Told told{told_of_path(by, row, argument, kHere, whole.c_str()),
            told_of_path(by, row, argument, kHere, task.c_str())};
  if (row.args[argument] == Id::kPathAt) {
    const int proc = MUST(open("/proc", O_RDONLY | O_DIRECTORY));
    told.push_back(told_of_path(by, row, argument, proc, relative.c_str()));
    MUST(close(proc));
  }
  return told;
}

}  // namespace

void add_column_cases(const IdCall& row, std::vector<Case>& cases) {
  bool any = false;
  for (int i = 0; i < 6; ++i) {
    const std::string name = std::string(row.name) + " argument " + std::to_string(i + 1);
    if (is_given_id(row.args[i])) {
      const auto of = [&row, i](const Caller& by, long id) { return told_of_id(by, row, i, id); };
      cases.push_back({name, [=, &row](auto& by) { return of(by, usual_id(row, row.args[i])); },
                       [=](auto& by) { return of(by, kNobodysId); }});
      any = true;
    } else if (is_path(row.args[i])) {
      const auto of = [&row, i](const Caller& by, long child, long thread) {
        return told_of_paths(by, row, i, child, thread);
      };
      cases.push_back({name, [=](auto& by) { return of(by, people.child, people.thread); },
                       [=](auto& by) { return of(by, kNobodysId, kNobodysId); }});
      any = true;
    }
  }
  if (any || row.result == Id::kNone) return;
  const auto run = [&row](const Caller& by) {
    Arguments a;
    prepare(row, a);
    return Told{make(by, row, a)};
  };
  cases.push_back({row.name, run, {}});
}

}  // namespace rows
