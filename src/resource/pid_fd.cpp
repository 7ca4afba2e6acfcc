#include "resource/pid_fd.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>

extern "C" {  // glibc 2.36 does not say so itself
#include <sys/pidfd.h>
}

#include "base/error.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

constexpr pid_t kReaped = -1;
constexpr std::uint32_t kThread = O_EXCL;  // PIDFD_THREAD, since Linux 6.9

Refusal outside(const FileView& view, bool certain) {
  const pid_t pid = view.info.pidfd->pid;
  const std::string which =
      pid == 0 ? "a process of another pid namespace"
               : fmt::format("process {}, which does not belong to the computation", pid);
  return {fmt::format("the pidfd refers to {}", which), "close it before", certain};
}

Refusal other_thread(const FileView& view) {
  return {fmt::format("the pidfd refers to thread {}, which is not the main one of its process",
                      view.info.pidfd->pid),
          "close it before"};
}

bool is_main_thread(pid_t tid) { return process::read_status(tid).tgid == tid; }

// In the dry pass, where only those are known that hold descriptors: the others hang below them.
bool belongs(pid_t pid, const CaptureState& state) {
  const auto holds = [&state](pid_t one) {
    return std::ranges::any_of(state.holders,
                               [one](const Holder& holder) { return holder.pid == one; });
  };
  while (pid > 1 && !holds(pid)) pid = process::read_stat(pid).ppid;
  return pid > 1;
}

// The process may end, and its number vanish, while we look.
std::optional<Refusal> check_running(const FileView& view, const CaptureState& state) {
  try {
    const pid_t pid = view.info.pidfd->pid;
    if (!is_main_thread(pid)) return other_thread(view);
    return belongs(pid, state) ? std::nullopt : std::optional(outside(view, false));
  } catch (const base::Error& error) {
    if (error.code() == base::ErrorCode::permission) throw;
    return std::nullopt;
  }
}

base::UniqueFd open_inside(process::AgentClient& agent, pid_t pid, std::uint32_t flags) {
  const auto fd = static_cast<int>(
      agent.call(SYS_pidfd_open, {pid, flags}, fmt::format("open a pidfd of process {}", pid)));
  base::UniqueFd taken = agent.take_fd(fd);
  agent.call(SYS_close, {fd}, "close a pidfd");
  return taken;
}

// In a process of the tree: they all see the same numbers.
process::AgentClient* any_agent(const RestoreState& state) {
  for (const auto& [seen_pid, held] : state.processes) {
    if (held->agent != nullptr) return held->agent;
  }
  return nullptr;
}

base::UniqueFd open_pid_fd(pid_t pid, std::uint32_t flags, const RestoreState& state) {
  if (process::AgentClient* agent = any_agent(state)) return open_inside(*agent, pid, flags);
  base::UniqueFd fd(::pidfd_open(pid, flags));
  if (!fd) base::throw_system("cannot open a pidfd of process {}", pid);
  return fd;
}

int end_at_once(void*) { return 0; }

base::UniqueFd open_dead_pid_fd(const RestoreState& state) {
  process::AgentClient* agent = any_agent(state);
  return agent != nullptr ? make_dead_pid_fd(*agent) : make_dead_pid_fd();
}

class PidFdKind final : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "pidfd"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return view.info.pidfd.has_value();
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState& state) const override {
    const pid_t pid = view.info.pidfd->pid;
    if (pid == kReaped || state.processes.contains(pid)) return std::nullopt;
    if (pid == 0) return outside(view, true);
    if (state.processes.empty()) return check_running(view, state);
    return is_main_thread(pid) ? outside(view, true) : other_thread(view);
  }

  void capture(const FileView& view, CaptureState& state, snapshot::OpenFile& file) const override {
    const pid_t pid = view.info.pidfd->pid;
    file.mutable_pid()->set_pid(pid == kReaped ? kReaped : state.processes.at(pid)->seen_pid);
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override { return file.has_pid(); }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState& state) const override {
    const pid_t pid = file.pid().pid();
    const auto& processes = state.model->processes();
    if (pid == kReaped || std::ranges::any_of(processes, [pid](const snapshot::Process& process) {
          return process.pid() == pid;
        })) {
      return std::nullopt;
    }
    return Refusal{fmt::format("a pidfd refers to process {}, which is not in the image", pid),
                   "the image is damaged: use another generation"};
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    if (file.pid().pid() == kReaped) return open_dead_pid_fd(state);
    return open_pid_fd(file.pid().pid(), file.flags() & kThread, state);
  }
};

}  // namespace

std::unique_ptr<FileKind> make_pid_fd_kind() { return std::make_unique<PidFdKind>(); }

base::UniqueFd make_dead_pid_fd() {
  alignas(16) std::array<std::byte, 16384> stack{};
  int fd = -1;
  // No exit signal, so that only __WCLONE finds it. It shares our memory for its few instructions,
  // while we wait.
  const pid_t child = ::clone(end_at_once, stack.data() + stack.size(),
                              CLONE_PIDFD | CLONE_VM | CLONE_VFORK, nullptr, &fd);
  if (child < 0) base::throw_system("cannot make a process");
  base::UniqueFd dead(fd);
  while (::waitpid(child, nullptr, __WCLONE) < 0) {
    if (errno != EINTR) base::throw_system("cannot wait for process {}", child);
  }
  return dead;
}

// The child is one more agent, which ends when it finds nobody at the other end of its socket.
base::UniqueFd make_dead_pid_fd(process::AgentClient& agent) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    base::throw_system("cannot make a pair of sockets");
  }
  base::UniqueFd ours(ends[0]);
  base::UniqueFd theirs(ends[1]);
  const int socket = agent.give_fd_anywhere(theirs.get());
  theirs.reset();
  const auto child = agent.call(agent::kForkHusk, {socket, 0, 0, 0}, "make a process");
  agent.call(SYS_close, {socket}, "close a socket");
  base::UniqueFd dead = open_inside(agent, static_cast<pid_t>(child), 0);
  ours.reset();
  agent.call(SYS_wait4, {child, 0, __WALL, 0}, fmt::format("wait for process {}", child));
  return dead;
}

}  // namespace torpor::resource
