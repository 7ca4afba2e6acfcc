#include "restart/built_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "agent/resident/resident_abi.h"
#include "base/error.h"
#include "process/proc_syscall.h"
#include "process/proc_tree.h"
#include "wrapped/frame_registers.h"
#include "wrapped/group_stop.h"

namespace torpor::restart {
namespace {

using base::RemotePtr;
using Clock = std::chrono::steady_clock;

constexpr int kPatienceMs = 20000;
constexpr std::size_t kSpareRoom = 8;
// The upper part of what there is: threads' calls lie below.
constexpr std::uint64_t kStacks = agent::kRestartAddress + agent::kRestartBytes / 3;

constexpr std::int64_t kRestartSys = -512;
constexpr std::int64_t kRestartNoHand = -514;
constexpr std::int64_t kRestartBlock = -516;

process::Registers registers_of(const snapshot::Thread& saved) {
  process::Registers registers{};
  if (saved.registers().general().size() != sizeof(registers)) {
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("thread {} has no usable registers", saved.tid()));
  }
  std::memcpy(&registers, saved.registers().general().data(), sizeof(registers));
  return registers;
}

bool is_dead(const snapshot::Process& process) {
  for (const snapshot::Thread& thread : process.threads()) {
    if (thread.tid() == process.pid()) return thread.dead();
  }
  return false;
}

std::size_t living_threads(const snapshot::Process& process) {
  return static_cast<std::size_t>(process.threads_size()) - (is_dead(process) ? 1 : 0);
}

std::uint64_t place_of(std::size_t index) {
  return agent::kRoomAddress + index * sizeof(agent::ParkedThread);
}

// Which handlers, if a signal is there by then, end the call in which it was stopped.
void tell_call(const process::Registers& registers, agent::ParkedThread& place) {
  const auto result = static_cast<std::int64_t>(registers.rax);
  const bool in_call = static_cast<std::int64_t>(registers.orig_rax) >= 0;
  const bool by_any = result == kRestartNoHand || result == kRestartBlock;
  if (!in_call || (!by_any && result != kRestartSys)) return;
  place.behind_call = registers.rip;
  place.any_handler_ends_it = by_any ? 1 : 0;
}

// What the kernel notes beside the registers in a signal frame (struct _fpx_sw_bytes).
struct FrameNote {
  std::uint32_t magic, extended_size;
  std::uint64_t features;
  std::uint32_t size;
};
constexpr std::uint64_t kNoteOffset = 464;
constexpr std::uint64_t kLegacyBytes = 512;
constexpr std::uint32_t kNoteMagic = 0x46505853;

}  // namespace

ThreadStacks::ThreadStacks(const snapshot::Process& process)
    : count_(static_cast<std::size_t>(process.threads_size()) + 1) {
  if (end_of_leaders() > agent::kRestartAddress + agent::kRestartBytes) {
    throw base::Error(
        base::ErrorCode::refused,
        fmt::format("process {} has {} threads: too many for a restart in the wrapped "
                    "mode",
                    process.pid(), process.threads_size()));
  }
}

std::uint64_t ThreadStacks::end_of(std::size_t index) const {
  return kStacks + (index + 1) * kBytes;
}

void ThreadStacks::map(process::AgentClient& agent) const {
  agent.call(SYS_mmap,
             {kStacks, count_ * kBytes, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0},
             "map stacks for its threads");
}

BuiltProcess::BuiltProcess(Husk& husk, const wrapped::Computation& computation,
                           wrapped::Listener& listener)
    : model_(*husk.model), computation_(computation), pid_(husk.held.pid) {
  husk.agent->call(agent::kBecomeProgram,
                   {ThreadStacks(model_).end_of_leaders(), is_dead(model_) ? 1 : 0},
                   "become the program");
  husk.agent->close();
  auto connection = listener.await(pid_, kPatienceMs);
  if (!connection) {
    throw base::Error(base::ErrorCode::timeout,
                      fmt::format("process {}: its checkpoint thread does not come", model_.pid()));
  }
  const RemotePtr context(connection->hello.context);
  memory_.emplace(process::living_thread(pid_));
  client_.emplace(std::move(connection->socket), pid_, context, RemotePtr(connection->hello.code));
  std::int32_t socket = -1;
  memory_->read(context + offsetof(agent::Context, socket),
                std::as_writable_bytes(std::span(&socket, 1)));
  client_->set_remote_socket(socket);
  client_->call(agent::kMakeRoom, {living_threads(model_) + kSpareRoom},
                "map memory for what its threads tell");
}

std::vector<agent::ParkedThread> BuiltProcess::read_places() const {
  std::vector<agent::ParkedThread> places(living_threads(model_));
  memory_->read(RemotePtr(place_of(0)), std::as_writable_bytes(std::span(places)));
  return places;
}

agent::ParkedThread BuiltProcess::read_place(std::size_t index) const {
  agent::ParkedThread place{};
  memory_->read(RemotePtr(place_of(index)), std::as_writable_bytes(std::span(&place, 1)));
  return place;
}

void BuiltProcess::await_parked() {
  const auto deadline = Clock::now() + std::chrono::milliseconds(kPatienceMs);
  for (;;) {
    places_ = read_places();
    bool all = true;
    for (const agent::ParkedThread& place : places_) all = all && place.state == agent::kParked;
    if (all) return;
    if (Clock::now() > deadline) {
      throw base::Error(base::ErrorCode::timeout,
                        fmt::format("process {}: its threads do not park", model_.pid()));
    }
    ::usleep(100);
  }
}

std::vector<pid_t> BuiltProcess::thread_ids() {
  await_parked();
  std::vector<pid_t> tids;
  for (const agent::ParkedThread& place : places_) tids.push_back(static_cast<pid_t>(place.tid));
  return tids;
}

void BuiltProcess::give_registers(const std::map<pid_t, pid_t>& originals, std::int64_t elapsed_ns,
                                  resource::WaitLog& waits) {
  await_parked();
  std::map<pid_t, const snapshot::Thread*> saved;
  for (const snapshot::Thread& thread : model_.threads()) saved[thread.tid()] = &thread;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto thread = saved.find(originals.at(static_cast<pid_t>(places_[i].tid)));
    if (thread == saved.end()) {
      throw base::Error(base::ErrorCode::internal,
                        fmt::format("thread {} is not in the image", places_[i].tid));
    }
    give(i, *thread->second, elapsed_ns, waits);
  }
}

void BuiltProcess::give(std::size_t index, const snapshot::Thread& saved, std::int64_t elapsed_ns,
                        resource::WaitLog& waits) {
  snapshot::Thread thread = saved;
  process::Registers registers = registers_of(thread);
  const auto tid = static_cast<pid_t>(places_[index].tid);
  if (thread.has_interrupted_call()) {
    const RemotePtr scratch(place_of(index) + offsetof(agent::ParkedThread, answers));
    const resource::CallAgain call = resource::call_again_of(tid, thread, scratch, elapsed_ns);
    const std::int64_t result = begin_call(index, call.number, call.arguments);
    registers.rax = static_cast<std::uint64_t>(result == -EINTR ? kRestartBlock : result);
    if (result == -EINTR) {
      resource::note_call_again(tid, call, waits);
    } else {
      registers.orig_rax = ~std::uint64_t{0};
    }
  } else {
    resource::end_unknown_call(thread);
    resource::let_saved_call_age(tid, thread, elapsed_ns);
    registers = registers_of(thread);
  }
  agent::ParkedThread place = read_place(index);
  const wrapped::WayOn on = wrapped::way_on(registers);
  place.how = on.restarts ? agent::kRestarting : agent::kChanged;
  static_assert(sizeof(place.registers) == sizeof(on.registers));
  std::memcpy(place.registers, &on.registers, sizeof(place.registers));
  tell_call(registers, place);
  std::ranges::copy(wrapped::slept_call(registers), place.slept);
  place.is_new = 1;
  const auto bit = [](std::uint64_t signal) { return std::uint64_t{1} << (signal - 1); };
  const auto stop_signal = static_cast<std::uint64_t>(computation_.stop_signal);
  const bool trap = (thread.signal_mask() & bit(agent::kTrapSignal)) != 0;
  const bool stop = (thread.signal_mask() & bit(stop_signal)) != 0;
  place.blocked = (trap ? 1U : 0U) | (stop ? 2U : 0U);
  memory_->write(RemotePtr(place_of(index)), std::as_bytes(std::span(&place, 1)));
  put_frame(place, thread);
}

void BuiltProcess::put_frame(const agent::ParkedThread& place, const snapshot::Thread& saved) {
  agent::Frame frame{};
  memory_->read(RemotePtr(place.frame), std::as_writable_bytes(std::span(&frame, 1)));
  const auto bit = [](int signal) { return std::uint64_t{1} << (signal - 1); };
  frame.signal_mask =
      saved.signal_mask() & ~bit(agent::kTrapSignal) & ~bit(computation_.stop_signal);
  const snapshot::AlternateStack& stack = saved.alternate_stack();
  constexpr std::uint32_t kAutoDisarm = 1U << 31;
  const bool none = stack.size() == 0 || (stack.flags() & SS_DISABLE) != 0;
  frame.stack[0] = none ? 0 : stack.address();
  frame.stack[1] = none ? std::uint64_t{SS_DISABLE} : stack.flags() & kAutoDisarm;
  frame.stack[2] = none ? 0 : stack.size();
  memory_->write(RemotePtr(place.frame), std::as_bytes(std::span(&frame, 1)));
  put_extended_registers(frame.extended, saved);
}

// Into the form that the kernel has chosen for this very frame.
void BuiltProcess::put_extended_registers(std::uint64_t at, const snapshot::Thread& saved) {
  const std::string& state = saved.registers().extended();
  FrameNote note{};
  memory_->read(RemotePtr(at + kNoteOffset), std::as_writable_bytes(std::span(&note, 1)));
  const auto all = std::as_bytes(std::span(state));
  memory_->write(RemotePtr(at), all.first(std::min<std::size_t>(all.size(), kNoteOffset)));
  if (note.magic != kNoteMagic || state.size() <= kLegacyBytes + sizeof(std::uint64_t)) return;
  std::uint64_t present = 0;
  std::memcpy(&present, state.data() + kLegacyBytes, sizeof(present));
  if ((present & ~note.features) != 0) {
    throw base::Error(base::ErrorCode::refused,
                      fmt::format("thread {} uses register sets {:#x}, which a restart in the "
                                  "wrapped mode cannot give it",
                                  saved.tid(), present & ~note.features),
                      "restart where ptrace is allowed");
  }
  const std::size_t end = std::min<std::size_t>(state.size(), note.size);
  memory_->write(RemotePtr(at + kLegacyBytes), all.subspan(kLegacyBytes, end - kLegacyBytes));
}

// The thread makes the call, and is interrupted in it by a signal, after which the kernel knows how
// to restart it.
std::int64_t BuiltProcess::begin_call(std::size_t index, std::int64_t number,
                                      const std::array<std::uint64_t, 6>& arguments) {
  constexpr int kEnoughToBlockUs = 500;
  agent::ParkedThread place = read_place(index);
  place.call = number;
  std::ranges::copy(arguments, place.arguments);
  place.order = agent::kCallAgain;
  memory_->write(RemotePtr(place_of(index)), std::as_bytes(std::span(&place, 1)));
  const RemotePtr word(place_of(index) + offsetof(agent::ParkedThread, order));
  constexpr int kFutexWake = 1;
  client_->call(SYS_futex, {word, kFutexWake, 1}, "have an interrupted call begun again");
  const auto deadline = Clock::now() + std::chrono::milliseconds(kPatienceMs);
  for (;;) {
    ::usleep(kEnoughToBlockUs);
    place = read_place(index);
    if (place.order == agent::kWait) return place.result;
    if (Clock::now() > deadline) {
      throw base::Error(base::ErrorCode::timeout,
                        fmt::format("process {}: thread {} does not come back from its call",
                                    model_.pid(), place.tid));
    }
    const auto in = process::blocked_syscall(pid_, static_cast<pid_t>(place.tid));
    if (in && in->nr == number) interrupt(static_cast<pid_t>(place.tid));
  }
}

void BuiltProcess::interrupt(pid_t tid) {
  struct {
    agent::SignalInfo info;
    std::array<std::byte, sizeof(siginfo_t) - sizeof(agent::SignalInfo)> rest{};
  } order{};
  order.info.signal = computation_.stop_signal;
  order.info.code = agent::kOrderCode;
  order.info.order = {computation_.number, agent::kInterruptStop};
  process::Batch batch(*client_);
  batch.call(SYS_rt_tgsigqueueinfo, {pid_, tid, computation_.stop_signal, batch.value(order)},
             "interrupt a call");
  batch.run();
}

// Its agent does so once its threads are let go, by whomever.
void BuiltProcess::have_it_stopped() {
  const RemotePtr place(agent::kResidentData + offsetof(agent::Resident, process) +
                        offsetof(agent::ResidentProcess, stop_again));
  const auto signal = static_cast<std::uint32_t>(model_.attributes().stop_signal());
  memory_->write(place, std::as_bytes(std::span(&signal, 1)));
}

void BuiltProcess::forget_stops(const StoppedChildren& children) {
  for (const pid_t child : children.collected) wrapped::collect_stop(*client_, child);
  if (children.any && !children.had_child_signal) wrapped::drop_signal(*client_, SIGCHLD);
}

void BuiltProcess::arm() {
  if (model_.state() == snapshot::Process::STOPPED) have_it_stopped();
  client_->call(agent::kArm, {}, "let its threads go on without us");
}

void BuiltProcess::release() {
  client_->call(agent::kEndStop, {}, "let its threads go");
  client_.reset();
  if (model_.state() == snapshot::Process::STOPPED) wrapped::await_group_stop(pid_);
}

}  // namespace torpor::restart
