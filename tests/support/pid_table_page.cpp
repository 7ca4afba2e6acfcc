// Prints docs/pid-table.md, which is made of the one table (src/agent/resident/id_calls.h).
#include <cstdio>
#include <string>
#include <vector>

#include "agent/resident/clock_calls.h"
#include "agent/resident/id_calls.h"

namespace {

using namespace torpor::agent;

const char* const kHead = R"(# The pid table

After a restart with `--identity table` the kernel knows the program's processes by other ids than the
program does. What the program sees are the ids of before, its *originals*; the table
(`src/agent/resident/id_table.h`) leads from them to the kernel's *current* ids and back.
Processes, threads, groups and sessions are numbered out of one set, so one pair serves all four.

- An original that the table does not have is taken as it is: processes outside of the computation are
  called by their own ids. If that id belongs to one of the computation's processes under another
  original, there is nobody of that id (ESRCH).
- A process outside of the computation whose id is an original of the computation's is seen as 0, like one
  outside of a pid namespace.
- A new child keeps its id if no process is known by it, and gets an unused one otherwise.

This page is generated from `src/agent/resident/id_calls.h` and `clock_calls.h`. After a change there:
`build/dev/tests/pid_table_page > docs/pid-table.md`.
)";

const char* const kElsewhere = R"(
## Places that are not arguments

| where | how |
| --- | --- |
| siginfo of a handler | translated before the handler is called: `si_pid` of signals that were sent, of children, of message queues |
| `siginfo` from `rt_sigtimedwait`, `waitid`, `ptrace` | by the rows above |
| records of a signalfd | by the rows above |
| words of robust and priority-inheriting futexes | hold originals; what the kernel would do with them, the agent does |
| `CLONE_PARENT_SETTID`, `CLONE_CHILD_SETTID` | written again with the original |
| ids in CPU-time clocks | by the rows above |
)";

const char* const kLimits = R"(
Limits that are no call's:

- A program can be executed only where its process can open `/dev/shm/torpor-ids-<number>`: after a
  `chroot` or a change of the user it ends instead.
- Reads are led in from the first `signalfd` of a process or its ancestors on. One that comes by
  `SCM_RIGHTS` to a process without shows the kernel's ids.
- A wait with a relative timeout that stands in the agent (`rt_sigtimedwait`, sockets with
  `SO_RCVTIMEO`) begins anew after a checkpoint.
- A tracer that is told of a newborn child before that has run is told the kernel's id.
- Whoever has led a session keeps his pair until the kernel gives the id to another child of the
  computation: a stranger who gets it first could be sent a signal that was meant for a session's leader
  long gone.
)";

const char* const kClocksHead = R"(

## Clocks

`CLOCK_MONOTONIC`, its `_RAW` and `_COARSE`, `CLOCK_BOOTTIME` and its `_ALARM` go on from where they stood in
the image, though there is no time namespace: the program's `clock_gettime` in the vdso is led to the
agent, which adds the difference. These calls are led there too:

)";

std::string way(ClockHow how) {
  switch (how) {
    case ClockHow::kTold: return "the time that comes back";
    case ClockHow::kDeadline: return "the deadline, where there is one";
    case ClockHow::kTimer:
    case ClockHow::kTimerFd: return "the first expiration";
    case ClockHow::kUptime: return "`uptime`";
    case ClockHow::kTicks: return "result";
    case ClockHow::kHole: break;
  }
  return {};
}

void print_clocks() {
  std::fputs(kClocksHead, stdout);
  std::puts("| call | number | what is translated | note |\n| --- | --- | --- | --- |");
  for (const ClockCall& row : clock_calls) {
    if (!is_translated(row)) continue;
    std::printf("| %s | %u | %s | %s |\n", row.name, row.number, way(row.how).c_str(), row.note);
  }
  std::puts("\nNot translated:\n");
  for (const ClockCall& row : clock_calls) {
    if (!is_translated(row)) std::printf("- `%s`: %s\n", row.name, row.note);
  }
}

std::string what(Id kind) {
  switch (kind) {
    case Id::kProcess: return "process";
    case Id::kThread: return "thread";
    case Id::kGroup: return "group";
    case Id::kSession: return "session";
    case Id::kSigned: return "process, or group (negative)";
    case Id::kClock: return "id in the clock";
    case Id::kPath: return "path";
    case Id::kPathAt: return "path, relative to argument before";
    case Id::kInfoIn: return "`siginfo_t`, given";
    case Id::kInfoOut: return "`siginfo_t`, returned";
    case Id::kEventIn: return "`struct sigevent`";
    case Id::kWordIn: return "word, given";
    case Id::kWordOut: return "word, returned";
    case Id::kOwnerIn: return "`struct f_owner_ex`, given";
    case Id::kOwnerOut: return "`struct f_owner_ex`, returned";
    case Id::kLockOut: return "`struct flock`, returned";
    case Id::kSegmentOut: return "`struct shmid_ds`, returned";
    case Id::kQueueOut: return "`struct msqid_ds`, returned";
    case Id::kCapability: return "`cap_user_header_t`";
    case Id::kPeer: return "`struct ucred`, returned";
    case Id::kPidfdInfo: return "`struct pidfd_info`, returned";
    case Id::kNone: break;
  }
  return {};
}

std::string way(How how) {
  switch (how) {
    case How::kFork: return "the child gets its pair before it runs";
    case How::kExit: return "robust futexes are let go; a thread's pair ends";
    case How::kWait: return "looks first, then waits for that child alone; its pair ends";
    case How::kSetsid: return "remembered as a session";
    case How::kEverybody: return "one signal each";
    case How::kMessages: return "`SCM_CREDENTIALS`";
    case How::kRead: return "`ssi_pid`";
    case How::kListing: return "names in `/proc` and `/proc/<id>/task`";
    case How::kLink: return "what the link says";
    case How::kPriority: return "done by the agent, without inheritance of priority";
    case How::kEvent: return "message, after events of children and exec";
    case How::kPeek: return "`siginfo_t`, each";
    case How::kOwner: return "by `F_GETOWN_EX`";
    default: return {};
  }
}

void join(std::string& all, const std::string& more) {
  if (more.empty()) return;
  if (!all.empty()) all += "; ";
  all += more;
}

std::string translation(const IdCall& row) {
  std::string all = way(row.how);
  for (std::size_t i = 0; i < 6; ++i) {
    if (row.args[i] != Id::kNone)
      join(all, "argument " + std::to_string(i + 1) + ": " + what(row.args[i]));
  }
  if (row.result != Id::kNone) join(all, "result: " + what(row.result));
  return all;
}

bool only_paths(const IdCall& row) {
  bool any = false;
  for (const Id kind : row.args) {
    if (kind != Id::kNone && kind != Id::kPath && kind != Id::kPathAt) return false;
    any = any || kind != Id::kNone;
  }
  return any && row.how == How::kColumns;
}

void print_rows(bool paths) {
  std::puts("\n| call | number | what is translated | note |\n| --- | --- | --- | --- |");
  for (const IdCall& row : id_calls) {
    if (!is_translated(row) || only_paths(row) != paths) continue;
    std::printf("| `%s` | %u | %s | %s |\n", row.name, row.number, translation(row).c_str(),
                row.note);
  }
}

void print_notes(How how) {
  std::puts("\n| call | number | why |\n| --- | --- | --- |");
  for (const IdCall& row : id_calls) {
    if (row.how == how) std::printf("| `%s` | %u | %s |\n", row.name, row.number, row.note);
  }
}

}  // namespace

int main() {
  std::fputs(kHead, stdout);
  std::fputs("\n\n## Calls that take or return ids\n", stdout);
  print_rows(false);
  std::fputs(kElsewhere, stdout);
  std::fputs(
      "\n\n## Calls with paths\n\n"
      "Ids in `/proc/<id>` and `/proc/<id>/task/<id>`, absolute or relative to a directory there.\n"
      "A path that gets to `/proc` by a symbolic link, or by `..` from elsewhere, is not seen "
      "through.\n",
      stdout);
  print_rows(true);
  print_clocks();
  std::fputs("\n\n## Known holes\n\nNot translated.\n", stdout);
  print_notes(How::kHole);
  std::fputs(kLimits, stdout);
  std::fputs("\n\n## Nothing to translate\n", stdout);
  print_notes(How::kNothing);
  return 0;
}
