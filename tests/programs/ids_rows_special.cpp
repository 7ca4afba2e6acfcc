// Calls whose ids are elsewhere than in columns, or that need somebody to do something.
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <map>

#include "ids_rows.h"

namespace rows {
namespace {

// --- children: their ids are new ones each time, so what is told is whether all agree

bool is_new(long id) {
  return id > 0 && id != people.me && id != people.thread && id != people.child &&
         id != people.servant;
}

Told told_of_child(const Caller& by, long child, long seen) {
  int status = -1;
  const long waited = call(by, SYS_wait4, child, &status, 0, 0);
  return {is_new(child), seen == child, waited == child, status, call(by, SYS_kill, child, 0)};
}

Told birth(const Caller& by, long number, long flags) {
  static volatile long seen;
  int words[2] = {}, ends[2];
  MUST(pipe(ends));
  const long child = call(by, number, flags, 0, &words[0], &words[1]);
  if (child == 0) {
    long told[2] = {call(by, SYS_getpid), words[1]};
    write_all(ends[1], told, sizeof told);
    call(by, SYS_exit_group, 0);
  }
  long told[2];
  read_all(ends[0], told, sizeof told);
  MUST(close(ends[0])), MUST(close(ends[1]));
  seen = told[0];
  const bool same = number == SYS_fork || (words[0] == child && told[1] == child);
  Told result = told_of_child(by, child, seen);
  result.push_back(same);
  return result;
}

Told vfork_of(const Caller& by) {
  static long seen;
  const long child = by.vfork(&seen);
  return told_of_child(by, child, seen);
}

long ended_child(const Caller& by) {
  const long child = call(by, SYS_fork);
  if (child == 0) call(by, SYS_exit_group, 0);
  return child;
}

Told waited_for(const Caller& by, long kind) {
  const long child = ended_child(by);
  siginfo_t look = {}, info = {};
  const long who = kind == P_ALL ? 0 : child;
  if (kind == P_PGID) call(by, SYS_setpgid, child, child);
  call(by, SYS_waitid, kind, who, &look, WEXITED | WNOWAIT, 0);
  const long result = call(by, SYS_waitid, kind, who, &info, WEXITED, 0);
  return {look.si_pid == child, info.si_pid == child, result, call(by, SYS_kill, child, 0)};
}

Told waits_that_find_nobody(const Caller& by) {
  siginfo_t info = {};
  return {call(by, SYS_wait4, people.child, 0, WNOHANG, 0),
          call(by, SYS_wait4, people.servant, 0, WNOHANG, 0),
          call(by, SYS_wait4, kNobodysId, 0, WNOHANG, 0),
          call(by, SYS_waitid, P_PID, people.servant, &info, WEXITED | WNOHANG, 0), info.si_pid};
}

void* end_at_once(void* tid) { return *(long*)tid = syscall(SYS_gettid), nullptr; }

Told thread_that_ends(const Caller& by) {
  pthread_t thread;
  long tid = 0;
  ZERO(pthread_create(&thread, nullptr, end_at_once, &tid));
  ZERO(pthread_join(thread, nullptr));
  // It is joined a little before the kernel forgets it.
  while (syscall(SYS_tgkill, people.me, tid, 0) == 0) nap_ms(1);
  return {is_new(tid), call(by, SYS_tgkill, people.me, tid, 0)};
}

Told session_of_child(const Caller& by) {
  int status = 0;
  const long child = call(by, SYS_fork);
  if (child == 0) {
    const long session = call(by, SYS_setsid), own = call(by, SYS_getpid);
    const bool right = session == own && call(by, SYS_getsid, 0) == own &&
                       call(by, SYS_getpgrp) == own && call(by, SYS_getppid) == people.me;
    call(by, SYS_exit_group, right ? 0 : 1);
  }
  call(by, SYS_wait4, child, &status, 0, 0);
  return {status};
}

// --- signals

const sigset_t& second_signal() {
  static sigset_t set;
  sigemptyset(&set), sigaddset(&set, SIGUSR2);
  return set;
}

Told taken_signal(const Caller& by) {
  siginfo_t info = {};
  const timespec patience = {20, 0};
  const long signal = call(by, SYS_rt_sigtimedwait, &second_signal(), &info, &patience, 8);
  return {signal, info.si_code, info.si_pid};
}

siginfo_t from_servant() {
  siginfo_t info = {};
  info.si_signo = SIGUSR2, info.si_code = SI_QUEUE, info.si_pid = (int)people.servant;
  return info;
}

// Queued by us, as if the servant had done it.
Told queued(const Caller& by, const IdCall& row) {
  siginfo_t info = from_servant();
  long sent = 0;
  if (is(row, "rt_sigqueueinfo")) {
    sent = call(by, row.number, people.me, SIGUSR2, &info);
  } else if (is(row, "rt_tgsigqueueinfo")) {
    sent = call(by, row.number, people.me, people.me, SIGUSR2, &info);
  } else {
    const int fd = (int)call(by, SYS_pidfd_open, people.me, 0);
    sent = call(by, row.number, fd, SIGUSR2, &info, 0);
    MUST(close(fd));
  }
  Told told = taken_signal(by);
  told.push_back(sent);
  return told;
}

Told sent_by_servant(const Caller& by) {
  ask(by, kSignal);
  Told told = taken_signal(by);
  for (const long one : answer()) told.push_back(one);
  return told;
}

Told signal_record(const Caller& by, bool in_pieces) {
  signalfd_siginfo record = {};
  auto* bytes = (char*)&record;
  iovec pieces[2] = {{bytes, 13}, {bytes + 13, sizeof record - 13}};
  const int fd = MUST(signalfd(-1, &second_signal(), SFD_CLOEXEC));
  ask(by, kSignal);
  const long got = in_pieces ? call(by, SYS_readv, fd, pieces, 2)
                             : call(by, SYS_read, fd, &record, sizeof record);
  MUST(close(fd));
  return Told{got, (long)record.ssi_signo, (long)record.ssi_pid, answer().front()};
}

// --- descriptors

Told owned_by(const Caller& by, int fd) {
  struct f_owner_ex owner = {};
  int old = 0, older = 0;
  Told told{call(by, SYS_fcntl, fd, F_GETOWN), call(by, SYS_fcntl, fd, F_GETOWN_EX, &owner),
            owner.type, owner.pid};
  call(by, SYS_ioctl, fd, FIOGETOWN, &old), call(by, SYS_ioctl, fd, SIOCGPGRP, &older);
  told.push_back(old), told.push_back(older);
  return told;
}

Told owners(const Caller& by, const IdCall& row) {
  Told told;
  int ends[2];
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
  for (const long id : {people.servant, -people.child, kNobodysId}) {
    int number = (int)id;
    struct f_owner_ex owner = {id < 0 ? F_OWNER_PGRP : F_OWNER_PID, (int)std::abs(id)};
    const bool in_word = is(row, "ioctl FIOSETOWN") || is(row, "ioctl SIOCSPGRP");
    const long command = (long)row.when.value;
    told.push_back(in_word                        ? call(by, SYS_ioctl, ends[0], command, &number)
                   : is(row, "fcntl F_SETOWN_EX") ? call(by, SYS_fcntl, ends[0], command, &owner)
                                                  : call(by, SYS_fcntl, ends[0], F_SETOWN, id));
    for (const long one : owned_by(by, ends[0])) told.push_back(one);
  }
  MUST(close(ends[0])), MUST(close(ends[1]));
  return told;
}

Told lock_of_servant(const Caller& by, long command) {
  struct flock lock = {};
  lock.l_type = F_WRLCK, lock.l_len = 1;
  const long result = call(by, SYS_fcntl, people.locked, command, &lock);
  return {result, lock.l_type, lock.l_pid};
}

Told terminal_of_servant(const Caller& by) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "expected a terminal");
  int number = 0, group = 0, session = 0;
  MUST(ioctl(master, TIOCGPTN, &number));
  ask(by, kTerminal, number);
  Told told = answer();
  told.push_back(call(by, SYS_ioctl, master, TIOCGPGRP, &group));
  told.push_back(call(by, SYS_ioctl, master, TIOCGSID, &session));
  told.push_back(group), told.push_back(session);
  ask(by, kTerminal, -1);
  told.push_back(answer().front());
  MUST(close(master));
  return told;
}

Told facts_of_pidfd(const Caller& by) {
  unsigned info[16] = {1};
  const int fd = (int)call(by, SYS_pidfd_open, people.servant, 0);
  const long result = call(by, SYS_ioctl, fd, 0xc040ff0b, info);
  MUST(close(fd));
  return {result, info[4], info[5], info[6]};
}

Told peer(const Caller& by) {
  int ends[2];
  ucred told = {};
  socklen_t size = sizeof told;
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
  const long result = call(by, SYS_getsockopt, ends[0], SOL_SOCKET, SO_PEERCRED, &told, &size);
  MUST(close(ends[0])), MUST(close(ends[1]));
  return {result, told.pid};
}

Told credentials_of_servant(const Caller& by, bool many) {
  long words[8] = {};
  alignas(8) char control[CMSG_SPACE(sizeof(ucred))] = {};
  iovec piece = {words, sizeof words};
  mmsghdr message = {};
  message.msg_hdr = {nullptr, 0, &piece, 1, control, sizeof control, 0};
  ask(by, many ? kMessages : kMessage);
  // Only now: who sends with it gets a name, and that cannot be saved.
  int passed = 1;
  MUST(setsockopt(people.link, SOL_SOCKET, SO_PASSCRED, &passed, sizeof passed));
  const long got = many ? call(by, SYS_recvmmsg, people.link, &message, 1, 0, 0)
                        : call(by, SYS_recvmsg, people.link, &message.msg_hdr, 0);
  passed = 0;
  MUST(setsockopt(people.link, SOL_SOCKET, SO_PASSCRED, &passed, sizeof passed));
  ucred told = {};
  if (got > 0 && message.msg_hdr.msg_controllen != 0) {
    std::memcpy(&told, CMSG_DATA((cmsghdr*)control), sizeof told);
  }
  return {got, words[0], told.pid};
}

// --- System V

Told of_segment(const Caller& by, long command) {
  shmid_ds facts = {};
  const int id = MUST(shmget(IPC_PRIVATE, 4096, 0600));
  long result = command == IPC_STAT ? call(by, SYS_shmctl, id, IPC_STAT, &facts) : -1;
  for (long i = 0; command != IPC_STAT && i < 32768 && result != id; ++i) {
    result = call(by, SYS_shmctl, i, command, &facts);
  }
  MUST(shmctl(id, IPC_RMID, nullptr));
  return {result < 0, facts.shm_cpid, facts.shm_lpid};
}

Told of_queue(const Caller& by, long command) {
  msqid_ds facts = {};
  struct {
    long type;
    char text[1];
  } message = {1, {'m'}};
  const int id = MUST(msgget(IPC_PRIVATE, 0600));
  MUST(msgsnd(id, &message, 1, 0));
  long result = command == IPC_STAT ? call(by, SYS_msgctl, id, IPC_STAT, &facts) : -1;
  for (long i = 0; command != IPC_STAT && i < 32768 && result != id; ++i) {
    result = call(by, SYS_msgctl, i, command, &facts);
  }
  MUST(msgctl(id, IPC_RMID, nullptr));
  return {result < 0, facts.msg_lspid, facts.msg_lrpid};
}

Told of_semaphore(const Caller& by) {
  sembuf up = {0, 1, 0};
  const int id = MUST(semget(IPC_PRIVATE, 1, 0600));
  MUST(semop(id, &up, 1));
  const long last = call(by, SYS_semctl, id, 0, GETPID, 0);
  MUST(semctl(id, 0, IPC_RMID));
  return {last};
}

// --- /proc

std::vector<long> listed(const Caller& by, long number, const char* path) {
  std::vector<long> found;
  alignas(8) char entries[4096];
  const int fd = MUST(open(path, O_RDONLY | O_DIRECTORY));
  const int name = number == SYS_getdents64 ? 19 : 18;
  for (long used; (used = call(by, number, fd, entries, sizeof entries)) > 0;) {
    for (long at = 0; at < used; at += *(unsigned short*)(entries + at + 16)) {
      const long id = std::strtol(entries + at + name, nullptr, 10);
      if (id > 0) found.push_back(id);
    }
  }
  MUST(close(fd));
  return found;
}

Told listings(const Caller& by, long number) {
  const auto all = listed(by, number, "/proc"), own = listed(by, number, "/proc/self/task");
  Told told{(long)own.size()};
  for (const long id : {people.me, people.thread, people.child, people.servant, kNobodysId}) {
    told.push_back(std::count(all.begin(), all.end(), id));
    told.push_back(std::count(own.begin(), own.end(), id));
  }
  return told;
}

long link_is(const Caller& by, bool at, const std::string& path, const std::string& expected) {
  char text[256] = {};
  const long size = at ? call(by, SYS_readlinkat, -100, path.c_str(), text, sizeof text)
                       : call(by, SYS_readlink, path.c_str(), text, sizeof text);
  return size == (long)expected.size() && expected == text;
}

std::string working_directory() {
  char path[4096];
  CHECK(getcwd(path, sizeof path) != nullptr, "expected to be somewhere");
  return path;
}

Told links(const Caller& by, bool at) {
  const std::string me = std::to_string(people.me), child = std::to_string(people.child);
  const int fd = (int)call(by, SYS_open, ("/proc/" + child).c_str(), O_PATH, 0);
  const std::string own = "/proc/" + me + "/fd/" + std::to_string(fd);
  Told told{link_is(by, at, "/proc/self", me),
            link_is(by, at, "/proc/thread-self", me + "/task/" + me),
            link_is(by, at, own, "/proc/" + child),
            link_is(by, at, "/proc/" + child + "/cwd", working_directory())};
  if (fd >= 0) MUST(close(fd));
  return told;
}

// --- the rest

struct Contest {
  const Caller* by;
  long lock;
  unsigned word;
  long seen[3];
};

void* contend(void* data) {
  auto& contest = *(Contest*)data;
  contest.seen[0] = call(*contest.by, SYS_futex, &contest.word, FUTEX_TRYLOCK_PI);
  contest.seen[1] = call(*contest.by, SYS_futex, &contest.word, contest.lock, 0, 0);
  contest.seen[2] = (contest.word & FUTEX_TID_MASK) == (unsigned)syscall(SYS_gettid) &&
                    call(*contest.by, SYS_futex, &contest.word, FUTEX_UNLOCK_PI) == 0;
  return nullptr;
}

Told priority_futex(const Caller& by, const IdCall& row) {
  const long lock = is(row, "futex FUTEX_LOCK_PI2") ? 13 : FUTEX_LOCK_PI;
  Contest contest = {&by, lock, 0, {}};
  pthread_t thread;
  Told told{call(by, SYS_futex, &contest.word, lock, 0, 0), (long)contest.word,
            call(by, SYS_futex, &contest.word, lock, 0, 0)};
  ZERO(pthread_create(&thread, nullptr, contend, &contest));
  while ((__atomic_load_n(&contest.word, __ATOMIC_ACQUIRE) & FUTEX_WAITERS) == 0) nap_ms(1);
  told.push_back(call(by, SYS_futex, &contest.word, FUTEX_UNLOCK_PI));
  ZERO(pthread_join(thread, nullptr));
  told.insert(told.end(), contest.seen, contest.seen + 3);
  told.push_back((long)contest.word);
  return told;
}

long raw_ptrace(const Caller& by, long request, long pid, void* address, void* data) {
  return call(by, SYS_ptrace, request, pid, address, data);
}

// As a debugger does it: attached, stopped, looked at, let go.
Told traced(const Caller& by) {
  siginfo_t info = {}, queued_info = {};
  struct {
    unsigned long long offset;
    unsigned flags;
    int count;
  } first = {0, 1, 1};
  int status = 0;
  long message = 0;
  const long child = people.child;
  call(by, SYS_tgkill, child, child, SIGUSR2);
  call(by, SYS_kill, child, SIGUSR2);
  Told told{raw_ptrace(by, PTRACE_SEIZE, child, nullptr, nullptr),
            raw_ptrace(by, PTRACE_SEIZE, kNobodysId, nullptr, nullptr)};
  if (told[0] != 0) return told;
  told.push_back(raw_ptrace(by, PTRACE_INTERRUPT, child, nullptr, nullptr));
  told.push_back(call(by, SYS_wait4, child, &status, __WALL, 0) == child);
  told.push_back(status);
  told.push_back(raw_ptrace(by, PTRACE_GETSIGINFO, child, nullptr, &info));
  told.push_back(info.si_pid);
  told.push_back(raw_ptrace(by, PTRACE_PEEKSIGINFO, child, &first, &queued_info));
  told.push_back(queued_info.si_pid);
  told.push_back(raw_ptrace(by, PTRACE_SETSIGINFO, child, nullptr, &queued_info));
  told.push_back(raw_ptrace(by, PTRACE_GETSIGINFO, child, nullptr, &info));
  told.push_back(info.si_pid);
  told.push_back(raw_ptrace(by, PTRACE_GETEVENTMSG, child, nullptr, &message));
  told.push_back(raw_ptrace(by, PTRACE_DETACH, child, nullptr, nullptr));
  return told;
}

Told traced_by_parent(const Caller& by) {
  int status = 0;
  const long child = call(by, SYS_fork);
  if (child == 0)
    call(by, SYS_exit_group, raw_ptrace(by, PTRACE_TRACEME, 0, nullptr, nullptr) == 0);
  // SIGSYS stops it when the agent is called; see the row of ptrace.
  while (call(by, SYS_wait4, child, &status, 0, 0) == child && WIFSTOPPED(status)) {
    raw_ptrace(by, PTRACE_CONT, child, nullptr, (void*)(long)WSTOPSIG(status));
  }
  return {status};
}

Told everybody(const Caller& by) { return {call(by, SYS_kill, -1, 0)}; }

Told asked(const Caller& by, Wish wish) {
  ask(by, wish);
  return answer();
}

using Runs = std::map<std::string, std::function<Told(const Caller&)>>;

Runs of_processes(const IdCall& row) {
  constexpr long kWords = 0x00100000 | 0x01000000;  // CLONE_PARENT_SETTID, CLONE_CHILD_SETTID
  return {
      {"getppid", [](auto& by) { return asked(by, kParent); }},
      {"getpgrp", [](auto& by) { return asked(by, kGroup); }},
      {"setsid", session_of_child},
      {"fork", [](auto& by) { return birth(by, SYS_fork, 0); }},
      {"vfork", vfork_of},
      {"clone", [](auto& by) { return birth(by, SYS_clone, kWords | SIGCHLD); }},
      {"wait4", waits_that_find_nobody},
      {"waitid P_PID", [](auto& by) { return waited_for(by, P_PID); }},
      {"waitid P_PGID", [](auto& by) { return waited_for(by, P_PGID); }},
      {"waitid", [](auto& by) { return waited_for(by, P_ALL); }},
      {"exit", thread_that_ends},
      {"exit_group", [](auto& by) { return told_of_child(by, ended_child(by), 0); }},
      {"kill -1", everybody},
      {"rt_sigqueueinfo", [&row](auto& by) { return queued(by, row); }},
      {"rt_tgsigqueueinfo", [&row](auto& by) { return queued(by, row); }},
      {"pidfd_send_signal", [&row](auto& by) { return queued(by, row); }},
      {"rt_sigtimedwait", sent_by_servant},
      {"ptrace PTRACE_TRACEME", traced_by_parent},
  };
}

Runs of_files(const IdCall& row) {
  const long command = row.when.value;
  return {
      {"read", [](auto& by) { return signal_record(by, false); }},
      {"readv", [](auto& by) { return signal_record(by, true); }},
      {"fcntl F_GETLK", [=](auto& by) { return lock_of_servant(by, command); }},
      {"fcntl F_OFD_GETLK", [=](auto& by) { return lock_of_servant(by, command); }},
      {"ioctl PIDFD_GET_INFO", facts_of_pidfd},
      {"getsockopt SO_PEERCRED", peer},
      {"sendmsg", [](auto& by) { return credentials_of_servant(by, false); }},
      {"recvmsg", [](auto& by) { return credentials_of_servant(by, false); }},
      {"sendmmsg", [](auto& by) { return credentials_of_servant(by, true); }},
      {"recvmmsg", [](auto& by) { return credentials_of_servant(by, true); }},
      {"semctl GETPID", of_semaphore},
      {"getdents", [](auto& by) { return listings(by, SYS_getdents); }},
      {"getdents64", [](auto& by) { return listings(by, SYS_getdents64); }},
      {"readlink", [](auto& by) { return links(by, false); }},
      {"readlinkat", [](auto& by) { return links(by, true); }},
  };
}

// Rows of one call each, whatever their command.
std::function<Told(const Caller&)> of_family(const IdCall& row) {
  const std::string name = row.name;
  const long command = row.when.value;
  if (name.starts_with("shmctl")) return [=](auto& by) { return of_segment(by, command); };
  if (name.starts_with("msgctl")) return [=](auto& by) { return of_queue(by, command); };
  if (name.starts_with("futex")) return [&row](auto& by) { return priority_futex(by, row); };
  if (name.starts_with("ptrace")) return traced;
  if (name.starts_with("ioctl TIOC")) return terminal_of_servant;
  if (name.ends_with("OWN") || name.ends_with("OWN_EX") || name.ends_with("PGRP")) {
    if (row.number == SYS_fcntl || row.number == SYS_ioctl) {
      return [&row](auto& by) { return owners(by, row); };
    }
  }
  return {};
}

}  // namespace

void add_special_cases(const IdCall& row, std::vector<Case>& cases) {
  for (const Runs& runs : {of_processes(row), of_files(row)}) {
    if (const auto found = runs.find(row.name); found != runs.end()) {
      cases.push_back({row.name, found->second, {}});
      return;
    }
  }
  if (const auto run = of_family(row)) cases.push_back({row.name, run, {}});
}

}  // namespace rows
