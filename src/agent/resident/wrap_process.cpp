// The wrapped calls about the process itself: fork, prctl, and the link that names its program.
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

// What a link to the program of a process with a resident agent says in truth.
constexpr char kOwnLink[] = "/memfd:torpor-";

bool begins_with(const char* text, std::int64_t length, const char* wanted) {
  for (std::int64_t i = 0; wanted[i] != '\0'; ++i) {
    if (i == length || text[i] != wanted[i]) return false;
  }
  return true;
}

}  // namespace

// Without CLONE_VM: the child has a copy of everything, our frame included, and leaves by it.
std::int64_t wrap_fork(Trap& trap) {
  const auto tid = static_cast<std::uint32_t>(raw_syscall(__NR_gettid));
  const ResidentThread* known = known_thread(tid);
  ResidentThread thread{};
  if (known != nullptr) copy_bytes(&thread, known, sizeof(thread));
  const auto& a = trap.args;
  const bool own_stack = trap.number == __NR_clone && a[1] != 0;
  const std::int64_t child = raw_syscall(trap.number, a[0], own_stack ? 0 : a[1], a[2], a[3], a[4]);
  if (child != 0) return child;
  claim_memory();
  if (known != nullptr) {
    ResidentThread& own = this_thread();
    thread.tid = own.tid;
    copy_bytes(&own, &thread, sizeof(thread));
  }
  if (own_stack) trap.frame->rsp = a[1];
  return 0;
}

std::int64_t wrap_prctl(Trap& trap) {
  const auto& a = trap.args;
  if (trap.number == __NR_seccomp) return wrap_seccomp(trap);
  switch (static_cast<std::uint32_t>(a[0])) {
    case PR_SET_SECCOMP: return wrap_seccomp(trap);
    case PR_GET_SECCOMP: return has_own_filters() ? SECCOMP_MODE_FILTER : SECCOMP_MODE_DISABLED;
    default: break;
  }
  const std::int64_t result = raw_syscall(__NR_prctl, a[0], a[1], a[2], a[3], a[4]);
  if (result < 0) return result;
  std::uint64_t& seen = resident().record.no_new_privs;
  if (static_cast<std::uint32_t>(a[0]) == PR_GET_NO_NEW_PRIVS)
    return static_cast<std::int64_t>(seen);
  if (owns_memory()) seen = 1;
  return result;
}

// The kernel tells nobody but a tracer where a thread has its restartable sequences.
std::int64_t wrap_sequences(Trap& trap) {
  constexpr std::uint64_t kBootTime = 7;
  constexpr std::uint64_t kUnregister = 1;
  const auto& a = trap.args;
  const std::int64_t result = raw_syscall(__NR_rseq, a[0], a[1], a[2], a[3]);
  if (result < 0) return result;
  ResidentThread& thread = this_thread();
  thread.sequence = (a[2] & kUnregister) != 0 ? 0 : a[0];
  thread.sequence_bytes = static_cast<std::uint32_t>(a[1]);
  thread.sequence_signature = static_cast<std::uint32_t>(a[3]);
  std::int64_t now[2] = {0, 0};
  raw_syscall(__NR_clock_gettime, kBootTime, address_of(&now[0]));
  thread.sequence_ns = now[0] * 1000000000 + now[1];
  return result;
}

// The kernel has seen that the buffer can be written.
std::int64_t wrap_link(Trap& trap) {
  const auto& a = trap.args;
  const std::int64_t length = raw_syscall(trap.number, a[0], a[1], a[2], a[3]);
  const bool at = trap.number == __NR_readlinkat;
  auto* buffer = reinterpret_cast<char*>(a[at ? 2 : 1]);
  if (length <= 0 || !begins_with(buffer, length, kOwnLink)) return length;
  const char* name = resident().executable;
  const std::size_t size = a[at ? 3 : 2];
  const std::size_t whole = length_of(name);
  const std::size_t told = whole < size ? whole : size;
  copy_bytes(buffer, name, told);
  return static_cast<std::int64_t>(told);
}

}  // namespace torpor::agent
