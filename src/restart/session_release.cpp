// The end of a restart: threads get their registers, agents go, and everything runs at once.
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/fault_point.h"
#include "process/injection.h"
#include "process/proc_stat.h"
#include "resource/interrupted_calls.h"
#include "resource/regular_file.h"
#include "resource/threads.h"
#include "restart/session.h"

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
                   base::RemotePtr scratch, resource::WaitLog& waits) {
  const std::int64_t result =
      resource::begin_call_again(tracee, thread, syscall_at, scratch, waits);
  process::Registers registers{};
  std::memcpy(&registers, thread.registers().general().data(), sizeof(registers));
  registers.rax = static_cast<std::uint64_t>(result);
  if (result != kRestartBlock) registers.orig_rax = ~std::uint64_t{0};  // it is over
  thread.mutable_registers()->set_general(&registers, sizeof(registers));
}

// A call that could not be told any more ends as it would after a signal handler.
void end_unknown_call(snapshot::Thread& thread) {
  process::Registers registers{};
  std::memcpy(&registers, thread.registers().general().data(), sizeof(registers));
  if (static_cast<std::int64_t>(registers.rax) != kRestartBlock) return;
  registers.rax = static_cast<std::uint64_t>(-EINTR);
  registers.orig_rax = ~std::uint64_t{0};
  thread.mutable_registers()->set_general(&registers, sizeof(registers));
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
                           : resource::seen_tid(stopped.pid, tracee.tid());
    const auto saved = threads.find(seen);
    if (saved == threads.end()) {
      throw base::Error(base::ErrorCode::internal,
                        fmt::format("thread {} is not in the image", seen));
    }
    snapshot::Thread thread = *saved->second;
    if (thread.has_interrupted_call()) {
      continue_call(tracee, thread, at, scratch, result_.waits);
    } else {
      end_unknown_call(thread);
    }
    resource::restore_registers(tracee, thread);
  }
  vacate(stopped, husk);
}

void Session::hold() {
  base::fault_point("restart.hold");
  if (verification_.valid()) verification_.get();
  start_reapers();
  const process::TreeScope scope{
      tree_->husks().at(model().root_pid()).held.pid, tree_->reaper().pid(), {}};
  held_ = std::make_unique<process::StoppedTree>(
      process::StoppedTree::stop(scope, kPatienceMs, PTRACE_O_EXITKILL));
  std::map<pid_t, Husk*> by_pid;
  for (auto& [pid, husk] : tree_->husks()) by_pid[husk.held.pid] = &husk;
  for (process::StoppedProcess& stopped : held_->processes()) {
    const auto husk = by_pid.find(stopped.pid);
    if (stopped.zombie || husk == by_pid.end()) continue;
    hold_process(stopped, *husk->second);
    husk->second->agent->close();
  }
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

// Processes that were stopped by a signal when the image was taken are so again before anything
// else runs.
void Session::stop_again() {
  for (process::StoppedProcess& stopped : held_->processes()) {
    for (auto& [pid, husk] : tree_->husks()) {
      if (husk.held.pid != stopped.pid || stopped.zombie) continue;
      if (husk.model->state() != snapshot::Process::STOPPED) continue;
      ::kill(stopped.pid, static_cast<int>(husk.model->attributes().stop_signal()));
      for (process::Tracee& thread : stopped.threads) thread.detach();
    }
  }
}

Restarted Session::release() {
  base::fault_point("restart.release");
  resource::cut_grown_files(state_);  // the last that can fail, and what cannot be taken back
  for (process::StoppedProcess& stopped : held_->processes()) {
    for (process::Tracee& thread : stopped.threads) thread.set_options(0);
  }
  // From here on our death would only detach: everything would run.
  stop_again();
  held_->release();
  released_ = true;
  result_.child = init_->pid;
  result_.reaper = tree_->reaper().pid();
  result_.root_seen = model().root_pid();
  result_.root = tree_->husks().at(model().root_pid()).held.pid;
  result_.warnings.insert(result_.warnings.end(), state_.warnings.begin(), state_.warnings.end());
  return std::move(result_);
}

}  // namespace torpor::restart
