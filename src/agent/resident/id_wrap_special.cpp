// Calls that columns do not describe: waiting, sessions, signals to everybody, the end of a thread.
#include <asm/errno.h>
#include <asm/unistd.h>

#include "agent/resident/id_wrap.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kNoHang = 1;
constexpr std::uint64_t kExited = 4;
constexpr std::uint64_t kLookOnly = 0x01000000;  // WNOWAIT
constexpr std::uint64_t kOfAll = 0;              // P_ALL
constexpr std::uint64_t kOfProcess = 1;
constexpr std::uint64_t kOfGroup = 2;

// siginfo_t of a child.
struct ChildInfo {
  std::int32_t signal, error, code, padding;
  std::int32_t pid;
  std::uint32_t user;
  std::int32_t status;
  std::int32_t rest[25];
};
static_assert(sizeof(ChildInfo) == 128);

bool has_ended(const ChildInfo& info) {
  constexpr std::int32_t kLastEnd = 3;  // CLD_EXITED, CLD_KILLED, CLD_DUMPED
  return info.code >= 1 && info.code <= kLastEnd;
}

// wait4(2)'s first argument as waitid(2) has it. Its 0 is the caller's group, as there.
void whom(std::int32_t id, IdRequest* request) {
  request->args[0] = id == -1 ? kOfAll : id > 0 ? kOfProcess : kOfGroup;
  const std::int32_t positive = id < -1 ? -id : id;
  request->args[1] = id == -1 ? 0 : static_cast<std::uint64_t>(positive);
}

}  // namespace

// In wait4's form: by child (`request.args[0]`), or in waitid's: the call that reaps this very
// child.
std::int64_t IdCaller::reap(const IdRequest& request, std::uint32_t child, bool* gone) {
  IdRequest exact = request;
  if (request.number == __NR_wait4) {
    exact.args[0] = child;
    exact.args[2] |= kNoHang;
  } else {
    exact.args[0] = kOfProcess;
    exact.args[1] = child;
    exact.args[3] |= kNoHang;
  }
  const std::int64_t result = make(exact);
  *gone = result == -ECHILD || (request.number == __NR_wait4 && result == 0);
  return result;
}

// Looks until a child has something to tell. While it is only looked at nobody else can be given
// its id, so this is the moment to see what the program calls it. Another thread may take it first;
// then all begins anew. `request` is waitid's or wait4's, with ids of the kernel's.
std::int64_t IdCaller::wait_for(IdRequest request) {
  const bool old_form = request.number == __NR_wait4;
  IdRequest look{__NR_waitid, {request.args[0], request.args[1], 0, request.args[3]}};
  if (old_form) {
    whom(static_cast<std::int32_t>(request.args[0]), &look);
    look.args[3] = request.args[2] | kExited;
  }
  const bool only_looks = !old_form && (request.args[3] & kLookOnly) != 0;
  look.args[3] |= kLookOnly;
  for (;;) {
    ChildInfo info{};
    look.args[2] = address_of_id(&info);
    const std::int64_t result = make(look);
    if (result < 0) return result;
    const auto child = static_cast<std::uint32_t>(info.pid);
    if (only_looks) return make(request);
    if (child == 0) {
      if (old_form || request.args[2] == 0) return 0;
      look.args[2] = request.args[2];
      const std::int64_t told = make(look);
      if (told < 0 || reinterpret_cast<ChildInfo*>(request.args[2])->pid == 0) return told;
      continue;
    }
    const IdWord pair = pair_of_current(table_, child);
    const std::uint32_t original = original_of(table_, child);
    bool gone = false;
    const std::int64_t reaped = reap(request, child, &gone);
    if (gone) continue;
    if (reaped < 0) return reaped;
    const bool is_left =
        static_cast<std::int32_t>(make(__NR_kill, -std::uint64_t{child}, 0)) != -ESRCH;
    if (has_ended(info) && !is_left && (pair & kIdSession) == 0) drop_pair(table_, child, pair);
    if (old_form) return original;
    if (request.args[2] != 0) {
      auto* told = reinterpret_cast<ChildInfo*>(request.args[2]);
      if (told->pid != 0) told->pid = static_cast<std::int32_t>(original);
    }
    return reaped;
  }
}

std::int64_t IdCaller::wait(const IdCall& row, IdRequest request) {
  const std::size_t who = request.number == __NR_wait4 ? 0 : 1;
  if (row.args[who] != Id::kNone) {
    request.args[who] =
        static_cast<std::uint64_t>(std::int64_t{to_kernel(row.args[who], request.args[who])});
  }
  const std::int64_t result = wait_for(request);
  // What was only looked at is told as the kernel told it.
  constexpr std::uint64_t kInfo = 2;
  const bool looked = request.number == __NR_waitid && (request.args[3] & kLookOnly) != 0;
  if (looked && result == 0 && request.args[kInfo] != 0) {
    translate_info(table_, Way::kToProgram, reinterpret_cast<void*>(request.args[kInfo]));
  }
  return result;
}

std::int64_t IdCaller::start_session(const IdRequest& request) {
  const std::int64_t session = make(request);
  if (session > 0) mark_session(table_, static_cast<std::uint32_t>(session));
  return seen(Id::kSession, session);
}

// As kill(-1): everybody but the caller. A thread is no process of its own.
std::int64_t IdCaller::signal_everybody(const IdRequest& request) {
  const auto own = static_cast<std::uint32_t>(make(__NR_getpid));
  std::int64_t result = -ESRCH;
  for (std::uint32_t id = next_current(table_, 0); id != 0; id = next_current(table_, id)) {
    if (id == own || make(__NR_tgkill, id, id, 0) == -ESRCH) continue;
    const std::int64_t sent = make(__NR_kill, id, request.args[1]);
    if (sent == 0 || result != 0) result = sent == -ESRCH ? result : sent;
  }
  return result;
}

std::int64_t IdCaller::owner(const IdRequest& request) {
  constexpr std::uint64_t kGetOwnerEx = 16;
  constexpr std::int32_t kIsGroup = 2;
  std::int32_t owner[2] = {0, 0};
  const std::int64_t result =
      make(__NR_fcntl, request.args[0], kGetOwnerEx, address_of_id(&owner[0]));
  if (result < 0) return result;
  const std::int32_t id = translate_id(table_, Way::kToProgram, Id::kProcess, owner[1]);
  return owner[0] == kIsGroup ? -id : id;
}

// A thread's pair ends with it. A process's is needed until it has been waited for.
std::int64_t IdCaller::leave(const IdRequest& request) {
  const auto tid = static_cast<std::uint32_t>(make(__NR_gettid));
  const bool is_thread = request.number == __NR_exit && make(__NR_getpid) != tid;
  release_robust_futexes();
  if (is_thread) drop_pair(table_, tid, pair_of_current(table_, tid));
  return make(request);
}

}  // namespace torpor::agent
