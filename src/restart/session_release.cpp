// The end of a restart: threads get their registers, agents go, and everything runs at once.
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <ranges>

#include "base/error.h"
#include "base/fault_point.h"
#include "process/borrowed_calls.h"
#include "process/injection.h"
#include "process/proc_stat.h"
#include "process/remote_memory.h"
#include "resource/interrupted_calls.h"
#include "resource/regular_file.h"
#include "resource/seccomp.h"
#include "resource/threads.h"
#include "restart/session.h"
#include "restart/stopped_children.h"

namespace torpor::restart {
namespace {

constexpr int kPatienceMs = 20000;
constexpr std::int64_t kRestartBlock = -516;

std::map<pid_t, const snapshot::Thread*> threads_by_tid(const snapshot::Process& process) {
  std::map<pid_t, const snapshot::Thread*> threads;
  for (const snapshot::Thread& thread : process.threads()) threads[thread.tid()] = &thread;
  return threads;
}

// A call whose timeout only the kernel knew is begun anew; what it says goes into the registers.
void continue_call(process::Tracee& tracee, snapshot::Thread& thread, base::RemotePtr syscall_at,
                   base::RemotePtr scratch, std::int64_t elapsed_ns, resource::WaitLog& waits) {
  const std::int64_t result =
      resource::begin_call_again(tracee, thread, syscall_at, scratch, elapsed_ns, waits);
  process::Registers registers{};
  std::memcpy(&registers, thread.registers().general().data(), sizeof(registers));
  registers.rax = static_cast<std::uint64_t>(result);
  if (result != kRestartBlock) registers.orig_rax = ~std::uint64_t{0};  // it is over
  thread.mutable_registers()->set_general(&registers, sizeof(registers));
}

// The thread has a stop signal before it, and no user code.
bool enter_group_stop(process::Tracee& thread) {
  constexpr int kStopMs = 5000;
  thread.resume();
  thread.wait(kStopMs);
  return thread.stop_signal() != 0;
}

void collect_stop(const process::BorrowedCalls& calls, process::Tracee& parent, pid_t child) {
  const std::int64_t result = calls.call(
      parent, SYS_waitid, {P_PID, static_cast<std::uint64_t>(child), 0, WSTOPPED | WNOHANG, 0});
  if (result >= 0) return;
  base::throw_errno(
      static_cast<int>(-result),
      fmt::format("process {} cannot wait for its stopped child {}", parent.pid(), child));
}

// A pending SIGCHLD is taken away; there need not be one.
void take_child_signal(const process::BorrowedCalls& calls, pid_t memory_pid,
                       process::Tracee& thread) {
  struct {
    std::uint64_t set = std::uint64_t{1} << (SIGCHLD - 1);
    timespec timeout{};
  } const arguments;
  process::write_value(memory_pid, base::RemotePtr(calls.room()), arguments);
  static_cast<void>(
      calls.call(thread, SYS_rt_sigtimedwait,
                 {calls.room(), 0, calls.room() + offsetof(decltype(arguments), timeout),
                  sizeof(arguments.set)}));
}

// Brings a held process, whose registers are already the program's, into a group stop. No other
// signal may come before.
void stop_by_signal(process::StoppedProcess& stopped, int signal) {
  std::vector<std::uint64_t> masks;
  const auto but = [](int one) { return ~(std::uint64_t{1} << (one - 1)); };
  for (process::Tracee& thread : stopped.threads) {
    masks.push_back(thread.signal_mask());
    thread.set_signal_mask(but(signal));
  }
  for (const int tried : {signal, SIGSTOP}) {
    ::kill(stopped.pid, tried);
    // Who takes the signal may not run on before it is in force for all.
    if (enter_group_stop(stopped.threads.front())) break;
  }
  for (std::size_t i = 0; i < stopped.threads.size(); ++i) {
    process::Tracee& thread = stopped.threads[i];
    if (i != 0) enter_group_stop(thread);
    thread.set_signal_mask(masks[i]);
  }
}

}  // namespace

void Session::vacate(process::StoppedProcess& stopped, Husk& husk) {
  process::Tracee& thread = stopped.threads.front();
  const base::RemotePtr at =
      process::find_syscall_instruction(stopped.memory_pid(), hole_->start(), hole_->end());
  const std::array<std::uint64_t, 1> socket{
      static_cast<std::uint64_t>(agent_sockets_.at(stopped.pid))};
  process::borrow_thread(thread, at, SYS_close, socket);
  const std::array<std::uint64_t, 2> range{hole_->start(), hole_->end() - hole_->start()};
  const std::int64_t done = process::borrow_thread(thread, at, SYS_munmap, range);
  if (done < 0) {
    base::throw_errno(static_cast<int>(-done),
                      fmt::format("process {}: cannot unmap the agent", husk.held.seen_pid));
  }
}

void Session::hold_process(process::StoppedProcess& stopped, Husk& husk) {
  const auto threads = threads_by_tid(*husk.model);
  const base::RemotePtr at =
      process::find_syscall_instruction(stopped.memory_pid(), hole_->start(), hole_->end());
  const base::RemotePtr scratch(hole_->context() + offsetof(agent::Context, helper_stack));
  for (process::Tracee& tracee : stopped.threads) {
    const pid_t seen = stopped.pid == husk.held.seen_pid
                           ? tracee.tid()
                           : resource::seen_tid(husk.held, tracee.tid());
    const auto saved = threads.find(seen);
    if (saved == threads.end()) {
      throw base::Error(base::ErrorCode::internal,
                        fmt::format("thread {} is not in the image", seen));
    }
    snapshot::Thread thread = *saved->second;
    if (thread.has_interrupted_call()) {
      continue_call(tracee, thread, at, scratch, elapsed_ns(), result_.waits);
    } else {
      resource::end_unknown_call(thread);
      resource::let_saved_call_age(tracee.tid(), thread, elapsed_ns());
    }
    resource::restore_registers(tracee, thread);
  }
  install_filters(stopped, husk);
  vacate(stopped, husk);
}

// Its last calls, and ours in its place, are not filtered: that takes the privilege which one has
// who could read the filters.
void Session::install_filters(process::StoppedProcess& stopped, const Husk& husk) {
  if (husk.model->seccomp_filters().empty()) return;
  process::Tracee& thread = stopped.threads.front();
  const base::RemotePtr at =
      process::find_syscall_instruction(stopped.memory_pid(), hole_->start(), hole_->end());
  const base::RemotePtr room(hole_->context() + offsetof(agent::Context, message));
  thread.set_options(PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP);
  for (const snapshot::SeccompFilter& saved : husk.model->seccomp_filters()) {
    const auto call = resource::put_filter(stopped.memory_pid(), room, saved);
    const std::int64_t done = process::borrow_thread(thread, at, SYS_seccomp, call);
    if (done == 0) continue;
    base::throw_errno(
        done < 0 ? static_cast<int>(-done) : EINVAL,
        fmt::format("process {}: cannot install its seccomp filter", husk.held.seen_pid));
  }
}

void Session::hold() {
  base::fault_point("restart.hold");
  if (verification_.valid()) verification_.get();
  start_reapers();
  if (is_wrapped()) return hold_inside();
  const process::TreeScope scope{
      tree_->husks().at(model().root_pid()).held.pid, tree_->reaper().pid(), {}};
  held_ = std::make_unique<process::StoppedTree>(
      process::StoppedTree::stop(scope, kPatienceMs, PTRACE_O_EXITKILL));
  std::map<pid_t, Husk*> by_pid;
  for (auto& [pid, husk] : tree_->husks()) by_pid[husk.held.pid] = &husk;
  // Children first: what their stops tell has to be taken back in their parents.
  for (process::StoppedProcess& stopped : std::views::reverse(held_->processes())) {
    const auto husk = by_pid.find(stopped.pid);
    if (husk == by_pid.end()) continue;
    if (stopped.zombie && husk->second->model->state() != snapshot::Process::ZOMBIE) {
      throw base::Error(
          base::ErrorCode::program_gone,
          fmt::format("process {} was killed during the restart", husk->second->held.seen_pid));
    }
    if (stopped.zombie) continue;
    forget_stops(stopped, *husk->second);
    hold_process(stopped, *husk->second);
    husk->second->agent->close();
    const snapshot::Process& model = *husk->second->model;
    if (model.state() != snapshot::Process::STOPPED) continue;
    stop_by_signal(stopped, static_cast<int>(model.attributes().stop_signal()));
  }
}

// The parent is not to learn again that its children were stopped.
void Session::forget_stops(process::StoppedProcess& parent, const Husk& husk) {
  const StoppedChildren children = stopped_children_of(model(), *husk.model);
  if (!children.any) return;
  const process::BorrowedCalls calls(husk.held);
  process::Tracee& thread = parent.threads.front();
  for (const pid_t child : children.collected) collect_stop(calls, thread, child);
  if (!children.had_child_signal) take_child_signal(calls, parent.memory_pid(), thread);
}

// The reaper, and init above it, only wait from now on, and tell who ended.
void Session::start_reapers() {
  int reports[2] = {-1, -1};
  if (::pipe2(reports, O_CLOEXEC) != 0) base::throw_system("cannot make a pipe");
  result_.reports.reset(reports[0]);
  const base::UniqueFd write_end(reports[1]);
  const auto start = [](process::AgentClient& agent, int report) {
    process::Batch batch(agent);
    batch.call(agent::kReap, {report}, "reap");
    batch.start();
  };
  process::AgentClient& reaper = tree_->reaper();
  start(reaper, reaper.give_fd_anywhere(write_end.get()));
  if (!tree_->reaper_is_init()) start(init_->agent, -1);
}

Restarted Session::release() {
  base::fault_point("restart.release");
  resource::cut_grown_files(state_);  // the last that can fail, and what cannot be taken back
  if (is_wrapped()) {
    release_inside();
  } else {
    for (process::StoppedProcess& stopped : held_->processes()) {
      for (process::Tracee& thread : stopped.threads) thread.set_options(0);
    }
    // From here on our death would only detach: everything would run.
    held_->release();
  }
  released_ = true;
  result_.child = init_->pid;
  result_.reaper = tree_->reaper().pid();
  result_.root_seen = model().root_pid();
  result_.root = tree_->husks().at(model().root_pid()).held.pid;
  result_.warnings.insert(result_.warnings.end(), state_.warnings.begin(), state_.warnings.end());
  return std::move(result_);
}

}  // namespace torpor::restart
