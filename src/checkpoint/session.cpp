#include "checkpoint/session.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/fault_point.h"
#include "image/core_writer.h"
#include "process/injection.h"
#include "process/page_source.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/proc_timens.h"
#include "resource/descriptors.h"
#include "resource/interrupted_calls.h"
#include "resource/memory.h"
#include "resource/process_state.h"
#include "resource/refusals.h"
#include "resource/shared_memory.h"
#include "resource/threads.h"
#include "wrapped/id_table_file.h"

namespace torpor::checkpoint {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kStopPatienceMs = 10000;
constexpr int kLookAttempts = 20;
// An agent that nobody has come for gives up after 10 s (src/agent/inject.cpp).
constexpr std::chrono::seconds kLeavingPatience{15};
constexpr int kRefusalLooks = 3;
constexpr std::int64_t kSecond = 1000000000;

// What a supervisor that was killed has left: nobody needs it, and we may need its room.
void remove_leftovers(image::Store& store, std::vector<std::string>& warnings) {
  try {
    store.remove_leftovers();
  } catch (const base::Error& error) {
    warnings.push_back(fmt::format("an unfinished image stays behind: {}", error.what()));
  }
}

bool has_ended(pid_t pid) {
  try {
    const char state = process::read_stat(pid).state;
    return state == 'Z' || state == 'X';
  } catch (const base::Error&) {
    return true;
  }
}

void refuse_hidden_sharing(std::span<process::HeldProcess* const> processes) {
  std::vector<resource::Obstacle> obstacles;
  resource::check_stopped_sharing(processes, obstacles);
  if (obstacles.empty()) return;
  const resource::Obstacle& found = obstacles.front();
  throw base::Error(base::ErrorCode::refused,
                    fmt::format("process {}: {}: {}", found.pid, found.what, found.reason),
                    found.remedy);
}

}  // namespace

Session::Session(const Request& request, base::Progress& progress)
    : request_(request),
      progress_(progress),
      waits_(request.waits != nullptr ? *request.waits : own_waits_),
      scope_{request.root, request.reaper, request.not_ours},
      began_(Clock::now()) {
  state_.model = &model_;
  for (const Request::OutsideStream& stream : request.outside) {
    state_.outside.push_back({stream.stream, stream.device, stream.inode});
  }
}

// In the middle of an exec a process cannot be looked at for a moment (its new memory is not
// dumpable yet); who still cannot be looked at later is forbidden to us.
std::vector<Finding> Session::check_patiently() {
  for (int attempt = 0;; ++attempt) {
    try {
      std::vector<Finding> findings = check(request_);
      resource::look_at_waits(process::members_of(scope_), waits_);
      return findings;
    } catch (const base::Error& error) {
      if (error.code() != base::ErrorCode::permission || attempt == kLookAttempts) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
}

// A program that runs may be found between two steps of its own, a pipe with one end in a child
// that has just been forked: what is in the way must be there at every look.
std::vector<Finding> Session::check_repeatedly() {
  std::vector<Finding> findings = check_patiently();
  for (int attempt = 1; attempt < kRefusalLooks; ++attempt) {
    if (std::ranges::none_of(findings, &Finding::fatal)) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    findings = check_patiently();
  }
  return findings;
}

void Session::look() {
  base::fault_point("checkpoint.look");
  for (const Finding& finding : check_repeatedly()) {
    if (!finding.fatal && finding.decided_later) continue;
    if (!finding.fatal) {
      state_.warnings.push_back(
          fmt::format("process {}: {}: {}", finding.pid, finding.what, finding.reason));
      continue;
    }
    throw base::Error(base::ErrorCode::refused,
                      fmt::format("process {}: {}: {}", finding.pid, finding.what, finding.reason),
                      finding.remedy);
  }
  image::Store store(request_.directory, request_.name);
  remove_leftovers(store, state_.warnings);
  writer_ = std::make_unique<image::ImageWriter>(store);
}

void Session::stop() {
  base::fault_point("checkpoint.stop");
  if (request_.wait_lock != nullptr) wait_lock_ = std::unique_lock(*request_.wait_lock);
  stop_all();
}

void Session::stop_all() {
  stopped_ = Clock::now();
  tree_ = hold_tree(request_, scope_, kStopPatienceMs);
  interrupted_ns_ = base::clock_ns();
  for (process::HeldProcess& held : tree_->processes()) {
    if (!held.zombie) resource::keep_calls_alive(held, waits_, interrupted_ns_);
  }
  threads_ = static_cast<std::uint32_t>(tree_->thread_count());
}

void Session::enter() {
  base::fault_point("checkpoint.enter");
  const auto deadline = Clock::now() + kLeavingPatience;
  for (;;) {
    try {
      return enter_all();
    } catch (const process::StillLeaving&) {
      if (Clock::now() > deadline) throw;
    }
    members_.clear();
    state_.processes.clear();
    tree_.reset();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop_all();
  }
}

void Session::enter_all() {
  for (process::HeldProcess& held : tree_->processes()) {
    members_.emplace_back(held);
    state_.processes[held.pid] = &held;
    if (!held.zombie) tree_->enter(held);
  }
}

snapshot::Process& Session::model_of(const Member& member) {
  return *model_.mutable_processes(member.model_index);
}

void Session::capture_tree() {
  std::map<pid_t, pid_t> seen;
  for (const Member& member : members_) seen[member.held.pid] = member.held.seen_pid;
  for (Member& member : members_) {
    const process::Stat stat = process::read_stat(member.held.pid);
    const process::Status status = process::read_status(member.held.pid);
    member.model_index = model_.processes_size();
    snapshot::Process& process = *model_.add_processes();
    process.set_pid(member.held.seen_pid);
    const auto parent = seen.find(stat.ppid);
    process.set_parent(parent == seen.end() ? 0 : parent->second);
    process.set_group(member.held.seen(stat.pgrp, status.nspgid));
    process.set_session(member.held.seen(stat.session, status.nssid));
    process.set_exit_signal(stat.exit_signal);
    if (member.held.zombie) {
      process.set_state(snapshot::Process::ZOMBIE);
      process.set_exit_status(stat.exit_code);
    } else if (member.held.stop_signal != 0) {
      process.set_state(snapshot::Process::STOPPED);
      process.mutable_attributes()->set_stop_signal(
          static_cast<std::uint32_t>(member.held.stop_signal));
      process.mutable_attributes()->set_stop_collected(
          member.held.stop_collected.value_or(stat.exit_code == 0));
    }
    if (member.held.pid == request_.root) {
      model_.set_root_pid(member.held.seen_pid);
      model_.set_uid(status.uids[0]);
      model_.set_gid(status.gids[0]);
      if (member.held.agent != nullptr) {
        model_.set_reaper_pid(static_cast<std::int32_t>(
            member.held.agent->call(SYS_getppid, {}, "ask for the parent")));
      }
    }
  }
  for (snapshot::Process& process : *model_.mutable_processes()) {
    if (process.parent() == 0) process.set_parent(model_.reaper_pid());
  }
}

void Session::capture_clocks() {
  const process::TimeOffsets offsets =
      process::read_time_offsets(process::living_thread(request_.root));
  state_.stopped_monotonic_ns = base::clock_ns();
  snapshot::Clocks& clocks = *model_.mutable_clocks();
  clocks.set_monotonic_ns(state_.stopped_monotonic_ns + offsets.mono_sec * kSecond +
                          offsets.mono_nsec);
  clocks.set_boottime_ns(base::clock_ns(CLOCK_BOOTTIME) + offsets.boot_sec * kSecond +
                         offsets.boot_nsec);
  clocks.set_realtime_ns(base::clock_ns(CLOCK_REALTIME));
  if (!request_.wrapped || request_.wrapped->ids == nullptr) return;
  const auto ahead = request_.wrapped->ids->clock_offsets();
  clocks.set_monotonic_ns(clocks.monotonic_ns() + ahead.monotonic_ns);
  clocks.set_boottime_ns(clocks.boottime_ns() + ahead.boottime_ns);
}

void Session::capture_member(Member& member) {
  snapshot::Process& process = model_of(member);
  resource::capture_threads(member.held, process);
  resource::capture_interrupted_calls(member.held, waits_, interrupted_ns_,
                                      state_.stopped_monotonic_ns, process, state_.warnings);
  resource::capture_process_state(member.held, process);
  resource::capture_memory(member.held, tree_->own_memory(member.held), state_, process);
}

void Session::capture() {
  base::fault_point("checkpoint.capture");
  capture_tree();
  capture_clocks();
  std::vector<process::HeldProcess*> held;
  for (Member& member : members_) {
    if (!member.held.zombie) held.push_back(&member.held);
  }
  if (!state_.kcmp) refuse_hidden_sharing(held);
  for (Member& member : members_) {
    if (!member.held.zombie) capture_member(member);
  }
  resource::capture_descriptors(held, state_);
}

void Session::copy() {
  base::fault_point("checkpoint.copy");
  resource::copy_mapped_shared_memories(state_);
  for (Member& member : members_) {
    if (member.held.zombie) continue;
    process::ProcessPageSource source(member.held.memory_pid());
    for (const snapshot::Area& area : model_of(member).areas()) {
      if (!resource::must_copy_in_pause(area)) continue;
      member.copied.copy(source, area.start(), area.end(), image::is_file_backed(area));
    }
  }
}

void Session::snapshot() {
  base::fault_point("checkpoint.snapshot");
  if (request_.kill) return;  // it stays stopped until all is written
  try {
    std::deque<PausedSubreaper> paused;
    for (Member& member : members_) {
      if (model_of(member).attributes().child_subreaper()) paused.emplace_back(*member.held.agent);
    }
    for (Member& member : members_) {
      if (!member.held.zombie) member.frozen.emplace(member.held, scope_.reaper);
    }
  } catch (const base::Error& error) {
    state_.warnings.push_back(
        fmt::format("{}; the program stays stopped until the image is written", error.what()));
    for (Member& member : members_) member.frozen.reset();
  }
}

void Session::leave() {
  base::fault_point("checkpoint.leave");
  for (Member& member : members_) {
    if (!member.held.zombie) tree_->leave(member.held);
  }
}

void Session::let_calls_age() {
  for (Member& member : members_) {
    if (!member.held.zombie) resource::let_calls_age(member.held, waits_);
  }
}

void Session::give_up() {
  if (!tree_ || resumed_ != Clock::time_point{}) return;
  try {
    for (Member& member : members_) {
      if (member.held.agent != nullptr) tree_->leave(member.held);
    }
    let_calls_age();
  } catch (const base::Error&) {
    // Somebody has died; the others go on all the same, if later than they would.
  }
}

void Session::resume() {
  const bool frozen = std::all_of(members_.begin(), members_.end(), [](const Member& m) {
    return m.held.zombie || m.frozen.has_value();
  });
  if (!frozen) return;
  base::fault_point("checkpoint.resume");
  let_calls_age();
  tree_->release();
  resumed_ = Clock::now();
  if (wait_lock_.owns_lock()) wait_lock_.unlock();
}

void Session::throw_if_somebody_died(const base::Error& error) const {
  // Once they run again they may end as they like.
  if (!tree_ || resumed_ != Clock::time_point{}) return;
  if (error.code() == base::ErrorCode::program_gone) return;
  for (const process::HeldProcess& process : tree_->processes()) {
    if (process.zombie || process.leader_dead || !has_ended(process.pid)) continue;
    throw base::Error(
        base::ErrorCode::program_gone,
        fmt::format("process {} ended during the checkpoint ({})", process.pid, error.what()));
  }
}

}  // namespace torpor::checkpoint
