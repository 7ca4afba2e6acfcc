#include "resource/refusals.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "base/error.h"
#include "base/unique_fd.h"
#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/proc_tree.h"
#include "resource/seccomp.h"
#include "resource/timers.h"

namespace torpor::resource {
namespace {

using Obstacles = std::vector<Obstacle>;

// The value of a line that is not in process::Status; empty if there is none.
std::string_view line_of(std::string_view status, std::string_view key) {
  for (std::size_t at = status.find(key); at != std::string_view::npos;
       at = status.find(key, at + 1)) {
    if (at != 0 && status[at - 1] != '\n') continue;
    const std::string_view rest = status.substr(at + key.size());
    if (!rest.starts_with(":")) continue;
    return rest.substr(1, rest.find('\n') - 1);
  }
  return {};
}

void check_seccomp(pid_t pid, const process::Status& status, std::uint32_t ours,
                   Obstacles& obstacles) {
  if (status.seccomp == SECCOMP_MODE_STRICT) {
    obstacles.push_back({true, pid, fmt::format("thread {}", status.pid),
                         "it is in seccomp's strict mode, in which nobody can work in it",
                         "run the program without its sandbox"});
    return;
  }
  const std::uint32_t added = added_filters(status, ours);
  if (added != 0 && !can_tell_filters(pid, added)) {
    obstacles.push_back({true, pid, fmt::format("thread {}", status.pid),
                         "it has seccomp filters that only root can read and suspend",
                         "run the program without its sandbox, or torpor as root"});
  }
}

void check_tracer(pid_t pid, const process::Status& status, Obstacles& obstacles) {
  if (status.tracer_pid == 0 || status.tracer_pid == ::getpid()) return;
  obstacles.push_back({true, pid, fmt::format("thread {}", status.pid),
                       fmt::format("it is traced by process {}", status.tracer_pid),
                       "end the debugger or tracer, or detach it"});
}

void check_shadow_stack(pid_t pid, std::string_view status, Obstacles& obstacles) {
  if (line_of(status, "x86_Thread_features").find("shstk") == std::string_view::npos) return;
  obstacles.push_back({true, pid, "shadow stack", "user-space shadow stacks cannot be restored",
                       "start the program with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off"});
}

// Mitigations that a thread chose for itself (PR_SET_SPECULATION_CTRL) are not saved.
void check_speculation(pid_t pid, std::string_view status, std::string_view ours,
                       Obstacles& obstacles) {
  for (const std::string_view key : {"Speculation_Store_Bypass", "SpeculationIndirectBranch"}) {
    const std::string_view theirs = line_of(status, key);
    if (theirs == line_of(ours, key)) continue;
    obstacles.push_back({false, pid, std::string(key),
                         fmt::format("'{}' is not kept by a restart",
                                     theirs.substr(theirs.find_first_not_of(" \t"))),
                         ""});
  }
}

// The agent is born from the leader, and the kernel lets no thread be born with SCHED_DEADLINE
// (sched_fork() in kernel/sched/core.c).
void check_policy(pid_t pid, pid_t tid, Obstacles& obstacles) {
  const process::Stat stat = process::read_stat(pid, tid);
  const std::string thread = fmt::format("thread {}", tid);
  if (stat.policy == SCHED_DEADLINE && tid == pid) {
    obstacles.push_back({true, pid, thread, "a main thread with SCHED_DEADLINE cannot be entered",
                         "use that policy in another thread, or with SCHED_FLAG_RESET_ON_FORK"});
    return;
  }
  const bool fair =
      stat.policy == SCHED_NORMAL || stat.policy == SCHED_BATCH || stat.policy == SCHED_IDLE;
  if (fair || ::geteuid() == 0) return;
  obstacles.push_back({false, pid, thread,
                       fmt::format("a restart needs the right to set scheduling policy {} with "
                                   "priority {}",
                                   stat.policy, stat.rt_priority),
                       "restart as root, or with a sufficient RLIMIT_RTPRIO"});
}

void check_timers(pid_t pid, std::size_t threads, Obstacles& obstacles) {
  std::string text;
  try {
    text = process::read_proc_file(pid, "timers");
  } catch (const base::Error& error) {
    if (error.code() != base::ErrorCode::not_found) throw;
    obstacles.push_back({true, pid, "kernel", "it was built without CONFIG_CHECKPOINT_RESTORE",
                         "use a kernel with that option, as all distributions have it"});
    return;
  }
  if (threads <= 1) return;
  for (const int id : timers_of_unknown_threads(parse_timers(text))) {
    obstacles.push_back({true, pid, fmt::format("timer {}", id),
                         "it counts the CPU time of one thread, and the kernel does not tell "
                         "which",
                         "use a timer on the CPU time of the process"});
  }
}

void check_directory(pid_t pid, const char* link, const char* name, Obstacles& obstacles) {
  const std::string path = fmt::format("/proc/{}/{}", pid, link);
  struct ::stat status {};
  if (::stat(path.c_str(), &status) != 0 || status.st_nlink != 0) return;
  obstacles.push_back({true, pid, fmt::format("{} {}", name, process::read_link(path)),
                       "the directory has been deleted", "let the program leave it"});
}

void check_word_size(pid_t pid, Obstacles& obstacles) {
  const base::UniqueFd program(
      ::open(fmt::format("/proc/{}/exe", pid).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<unsigned char, EI_NIDENT> ident{};
  if (!program || ::read(program.get(), ident.data(), ident.size()) < EI_NIDENT) return;
  if (ident[EI_CLASS] != ELFCLASS32) return;
  obstacles.push_back({true, pid, "program", "it is a 32-bit program", "use a 64-bit build"});
}

void check_threads(pid_t pid, Obstacles& obstacles) {
  const std::uint32_t ours = filters_around(pid);
  const std::string own_status = process::read_proc_file(::getpid(), "status");
  const std::vector<pid_t> threads = process::list_threads(pid);
  for (const pid_t tid : threads) {
    try {
      const std::string text = process::read_proc_file(pid, tid, "status");
      const process::Status status = process::parse_status(text);
      check_seccomp(pid, status, ours, obstacles);
      check_tracer(pid, status, obstacles);
      check_shadow_stack(pid, text, obstacles);
      check_speculation(pid, text, own_status, obstacles);
      check_policy(pid, tid, obstacles);
    } catch (const base::Error& error) {
      if (error.code() != base::ErrorCode::program_gone) throw;
    }
  }
  check_timers(pid, threads.size(), obstacles);
}

}  // namespace

void check_process(pid_t pid, pid_t surroundings, std::vector<Obstacle>& obstacles) {
  try {
    if (process::read_stat(pid).state == 'Z') return;
    check_threads(pid, obstacles);
    check_namespaces(pid, surroundings, obstacles);
    check_directory(pid, "cwd", "working directory", obstacles);
    check_directory(pid, "root", "root directory", obstacles);
    check_word_size(pid, obstacles);
  } catch (const base::Error& error) {
    const bool gone =
        error.code() == base::ErrorCode::program_gone || error.code() == base::ErrorCode::not_found;
    if (!gone) throw;
  }
}

}  // namespace torpor::resource
