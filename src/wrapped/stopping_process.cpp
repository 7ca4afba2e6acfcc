#include "wrapped/stopping_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/proc_timens.h"
#include "process/proc_tree.h"
#include "process/raw_process.h"

namespace torpor::wrapped {
namespace {

using agent::ResidentProcess;
using process::BlockedSyscall;

constexpr std::size_t kSpareRoom = 64;   // for threads that are born meanwhile
constexpr std::size_t kTextBytes = 256;  // of a syscall file
constexpr std::size_t kPerBatch = 64;

bool has_left(pid_t pid, pid_t tid) {
  try {
    const char state = process::read_stat(pid, tid).state;
    return state == 'Z' || state == 'X';
  } catch (const base::Error&) {
    return true;
  }
}

std::int64_t monotonic_offset_ns(pid_t pid) {
  const process::TimeOffsets offsets = process::read_time_offsets(pid);
  return offsets.mono_sec * 1'000'000'000 + offsets.mono_nsec;
}

std::optional<BlockedSyscall> parse(std::span<const std::byte> text) {
  const std::string_view whole(reinterpret_cast<const char*>(text.data()), text.size());
  const std::string_view line = whole.substr(0, whole.find('\n'));
  if (line.empty() || line.front() == '\0') return std::nullopt;
  try {
    return process::parse_syscall(line);
  } catch (const base::Error&) {
    return std::nullopt;
  }
}

}  // namespace

StoppingProcess::StoppingProcess(pid_t pid, const Computation& computation, std::uint64_t stop,
                                 Listener& listener, CallLog& log)
    : pid_(pid), computation_(computation), stop_(stop), listener_(listener), log_(log) {}

StoppingProcess::~StoppingProcess() {
  try {
    release();
  } catch (const base::Error&) {
    // It has been killed; or it finds its socket closed, and goes on by itself.
  }
}

siginfo_t StoppingProcess::order_info() const {
  siginfo_t info{};
  info.si_signo = computation_.stop_signal;
  info.si_code = agent::kOrderCode;
  constexpr std::size_t kSender = offsetof(agent::SignalInfo, order);
  std::memcpy(reinterpret_cast<std::byte*>(&info) + kSender, &computation_.number,
              sizeof(computation_.number));
  std::memcpy(&info.si_value, &stop_, sizeof(stop_));
  return info;
}

// One that borrows its memory from a parent in vfork(2) must not be disturbed, nor one in the midst
// of an exec, whom the signal would end.
bool StoppingProcess::hears_orders() const {
  try {
    const base::RemotePtr process(agent::kResidentData + offsetof(agent::Resident, process));
    return process::read_value<std::uint32_t>(process::living_thread(pid_), process) ==
           static_cast<std::uint32_t>(pid_);
  } catch (const base::Error&) {
    return false;
  }
}

bool StoppingProcess::order() {
  if (!hears_orders()) return true;
  siginfo_t info = order_info();
  look_at_leader();
  if (process::queue_signal(pid_, info) == 0) return true;
  if (errno == ESRCH) return false;
  base::throw_system("cannot send the stop signal to process {}", pid_);
}

// Who wakes up in the agent's handler sleeps there.
void StoppingProcess::note(pid_t tid, const std::optional<BlockedSyscall>& call) {
  if (call && call->pc - agent::kResidentBase < agent::kResidentTextBytes) return;
  Seen& seen = threads_[tid];
  if (call || !seen.ordered) seen.call = call;
}

// The kernel gives the order to the leader, if it can.
void StoppingProcess::look_at_leader() {
  try {
    note(pid_, process::blocked_syscall(pid_, pid_));
  } catch (const base::Error&) {
    // Not for us to see, or it has ended.
  }
}

void StoppingProcess::tell_to_stop_again() {
  const base::RemotePtr place(agent::kResidentData + offsetof(agent::Resident, process) +
                              offsetof(ResidentProcess, stop_again));
  process::write_value(process::living_thread(pid_), place,
                       static_cast<std::uint32_t>(group_stop_->signal));
}

bool StoppingProcess::wake() {
  if (!hears_orders()) return false;
  if (!group_stop_) {
    check_next_signal(pid_, computation_.stop_signal);
    group_stop_ = read_group_stop(pid_);
  }
  siginfo_t info = order_info();
  for (const pid_t tid : living_threads()) {
    note(tid, process::blocked_syscall(pid_, tid));
    threads_[tid].ordered = true;
    process::queue_signal_to_thread(pid_, tid, info);
  }
  tell_to_stop_again();
  info.si_signo = SIGCONT;  // which tells it from that of others
  process::queue_signal(pid_, info);
  return true;
}

void StoppingProcess::forget_child_signal() {
  if (!had_child_signal_) drop_signal(*client_, SIGCHLD);
}

void StoppingProcess::forget_stop_of(pid_t child, bool collected) {
  if (!client_) return;
  if (collected) collect_stop(*client_, child);
  forget_child_signal();
}

bool StoppingProcess::connect(int milliseconds) {
  auto connection = listener_.await(pid_, milliseconds);
  if (!connection) return false;
  take(std::move(*connection));
  memory_.emplace(process::living_thread(pid_));
  make_room(process::list_threads(pid_).size());
  return true;
}

void StoppingProcess::take(Connection connection) {
  agent_tid_ = static_cast<pid_t>(connection.hello.tid);
  const base::RemotePtr context(connection.hello.context);
  client_.emplace(std::move(connection.socket), pid_, context,
                  base::RemotePtr(connection.hello.code));
  client_->set_remote_socket(process::read_value<std::int32_t>(
      process::living_thread(pid_), context + offsetof(agent::Context, socket)));
}

void StoppingProcess::make_room(std::size_t threads) {
  room_ = threads + kSpareRoom;
  client_->call(agent::kMakeRoom, {room_}, "map memory for what its threads tell");
}

// Without the checkpoint thread.
std::vector<pid_t> StoppingProcess::living_threads() const {
  std::vector<pid_t> tids = process::list_threads(pid_);
  std::erase(tids, agent_tid_);
  return tids;
}

// What each sleeps in, and the signal right behind it.
void StoppingProcess::look_and_order(const std::vector<pid_t>& tids) {
  process::Batch batch(*client_);
  const base::RemotePtr info = batch.value(order_info());
  const base::RemotePtr texts = batch.space(tids.size() * kTextBytes);
  for (std::size_t i = 0; i < tids.size(); ++i) {
    const base::RemotePtr path = batch.text(fmt::format("/proc/self/task/{}/syscall", tids[i]));
    const std::size_t file = batch.try_call(SYS_openat, {AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0});
    batch.try_call(SYS_read, {process::ResultOf{file}, texts + i * kTextBytes, kTextBytes - 1});
    batch.try_call(SYS_rt_tgsigqueueinfo, {pid_, tids[i], computation_.stop_signal, info});
    batch.try_call(SYS_close, {process::ResultOf{file}});
  }
  batch.run_and_fetch();
  for (std::size_t i = 0; i < tids.size(); ++i) {
    note(tids[i], parse(batch.fetched(texts + i * kTextBytes, kTextBytes)));
    threads_[tids[i]].ordered = true;
  }
}

std::vector<agent::ParkedThread> StoppingProcess::read_places() const {
  const base::RemotePtr area(agent::kResidentData + offsetof(agent::Resident, process));
  ResidentProcess process{};
  memory_->read(area, std::as_writable_bytes(std::span(&process, 1)));
  if (process.parked > room_) {
    throw base::Error(base::ErrorCode::timeout,
                      fmt::format("process {} starts threads too fast", pid_), "try again");
  }
  std::vector<agent::ParkedThread> places(process.parked);
  memory_->read(base::RemotePtr(agent::kRoomAddress), std::as_writable_bytes(std::span(places)));
  return places;
}

bool StoppingProcess::stop_threads() {
  std::vector<pid_t> fresh;
  const std::vector<pid_t> tids = living_threads();
  for (const auto& place : read_places()) {
    if (place.state == agent::kParked) threads_[static_cast<pid_t>(place.tid)].parked = true;
  }
  bool all = true;
  for (const pid_t tid : tids) {
    Seen& seen = threads_[tid];
    if (seen.parked || has_left(pid_, tid)) continue;
    all = false;
    if (!seen.ordered) fresh.push_back(tid);
  }
  for (std::size_t at = 0; at < fresh.size(); at += kPerBatch) {
    const auto end = std::min(fresh.size(), at + kPerBatch);
    look_and_order({fresh.begin() + static_cast<std::ptrdiff_t>(at),
                    fresh.begin() + static_cast<std::ptrdiff_t>(end)});
  }
  return all;
}

void StoppingProcess::hand_over() {
  constexpr int kPatienceMs = 10000;
  const std::vector<agent::ParkedThread> places = read_places();
  if (places.empty()) {
    throw base::Error(base::ErrorCode::program_gone, fmt::format("process {} has ended", pid_));
  }
  if (group_stop_) drop_signal(*client_, SIGCONT);
  client_->call(agent::kHandOver, {0}, "start the thread with its descriptors");
  client_.reset();
  auto connection = listener_.await(pid_, kPatienceMs);
  if (!connection) {
    throw base::Error(base::ErrorCode::timeout,
                      fmt::format("process {}: its checkpoint thread does not come back", pid_));
  }
  take(std::move(*connection));
  client_->call(agent::kSpeakAsProgram, {1}, "make calls as the program does");
  view_.emplace(process::living_thread(pid_));
  const base::RemotePtr room(agent::kRoomAddress);
  leader_dead_ = has_left(pid_, pid_);
  clock_ahead_ns_ =
      monotonic_offset_ns(process::living_thread(pid_)) - monotonic_offset_ns(::getpid());
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i].state != agent::kParked) continue;
    add_parked(room + i * sizeof(agent::ParkedThread), places[i]);
  }
  std::ranges::sort(parked_, {}, [this](const auto& thread) {
    return std::pair(thread->tid() != pid_, thread->tid());
  });
  for (const auto& thread : parked_) {
    thread->set_agent(*client_, *parked_.front(), computation_.ids);
  }
}

void StoppingProcess::add_parked(base::RemotePtr place, const agent::ParkedThread& parked) {
  const auto tid = static_cast<pid_t>(parked.tid);
  std::vector<BlockedSyscall> seen;
  if (parked.slept[0] != 0) seen.push_back(to_call(std::to_array(parked.slept)));
  if (threads_[tid].call) seen.push_back(*threads_[tid].call);
  if (log_.contains(tid)) seen.push_back(log_.at(tid));
  parked_.push_back(std::make_unique<ParkedThread>(pid_, tid, place, parked, seen, *view_, log_,
                                                   clock_ahead_ns_));
}

pid_t StoppingProcess::seen_pid() const {
  if (computation_.ids != nullptr) return computation_.ids->seen(pid_);
  const std::vector<pid_t> inwards = process::read_status(pid_).nspid;
  return inwards.empty() ? pid_ : inwards.back();
}

process::HeldProcess StoppingProcess::held() {
  process::HeldProcess held;
  held.pid = pid_;
  held.ids = computation_.ids;
  held.seen_pid = seen_pid();
  held.leader_dead = leader_dead_;
  if (group_stop_) {
    held.stop_signal = group_stop_->signal;
    held.stop_collected = group_stop_->collected;
  }
  held.agent = &*client_;
  held.resident = &*view_;
  for (const auto& thread : parked_) {
    held.threads.push_back(thread.get());
    held.answers.push_back(thread->answers());
  }
  return held;
}

void StoppingProcess::release() {
  if (!client_) return;
  client_->call(agent::kSetUndo, {0, 0}, "forget what to undo");
  client_->call(agent::kEndStop, {}, "let its threads go");
  client_.reset();
  if (group_stop_) await_group_stop(pid_);
}

}  // namespace torpor::wrapped
