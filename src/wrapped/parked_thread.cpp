#include "wrapped/parked_thread.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "agent/resident/id_structs.h"
#include "agent/resident/interrupted_call.h"
#include "base/error.h"
#include "process/extended_registers.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/remote_memory.h"

namespace torpor::wrapped {
namespace {

using process::BlockedSyscall;
using process::Registers;

// The program's sets lie in the agent while a call waits with them.
bool is_in_agent(std::uint64_t address) {
  return address - agent::kResidentData < sizeof(agent::Resident);
}

// A thread that was not seen asleep, and yet was in a call.
std::optional<BlockedSyscall> guess_call(pid_t tid, const agent::Frame& frame) {
  if (static_cast<std::int64_t>(frame.rax) != -EINTR || frame.rcx != frame.rip) return std::nullopt;
  std::array<std::uint8_t, agent::kCodeBytes> code{};
  try {
    process::read_memory(tid, base::RemotePtr(frame.rip - agent::kCodeBytes),
                         std::as_writable_bytes(std::span(code)));
  } catch (const base::Error&) {
    return std::nullopt;
  }
  const std::int64_t number = agent::call_in_code(code.data(), code.size());
  if (number < 0) return std::nullopt;
  return BlockedSyscall{number,
                        {frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9},
                        frame.rsp,
                        frame.rip};
}

bool fits(const BlockedSyscall& seen, const agent::Frame& frame) {
  const std::uint64_t now[6] = {frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9};
  return seen.nr >= 0 && seen.sp == frame.rsp &&
         (seen.pc == frame.rip || seen.pc == frame.rip + 2) && std::ranges::equal(now, seen.args);
}

std::optional<BlockedSyscall> call_of(pid_t tid, std::span<const BlockedSyscall> seen,
                                      const agent::Frame& frame) {
  const auto found =
      std::ranges::find_if(seen, [&](const auto& call) { return fits(call, frame); });
  return found != seen.end() ? std::optional(*found) : guess_call(tid, frame);
}

std::int64_t start_ns(const process::Stat& stat) {
  return static_cast<std::int64_t>(stat.starttime) * (1000000000 / ::sysconf(_SC_CLK_TCK));
}

// Where the arguments of a call are among the registers.
constexpr std::array<std::size_t, 6> kArguments{offsetof(Registers, rdi), offsetof(Registers, rsi),
                                                offsetof(Registers, rdx), offsetof(Registers, r10),
                                                offsetof(Registers, r8),  offsetof(Registers, r9)};

template <typename T>
void put(pid_t tid, base::RemotePtr place, std::size_t offset, const T& value) {
  process::write_value(tid, place + offset, value);
}

}  // namespace

ParkedThread::ParkedThread(pid_t pid, pid_t tid, base::RemotePtr place,
                           const agent::ParkedThread& parked, std::span<const BlockedSyscall> seen,
                           const process::ResidentView& view, CallLog& log,
                           std::int64_t clock_ahead_ns)
    : pid_(pid),
      tid_(tid),
      place_(place),
      index_((place.address() - agent::kRoomAddress) / sizeof(agent::ParkedThread)),
      our_signals_(view.mask(0, 3)),
      frame_address_(parked.frame),
      answers_(parked.answers),
      log_(log),
      clock_ahead_ns_(clock_ahead_ns),
      interrupted_ns_(parked.interrupted_ns) {
  frame_ = process::read_value<agent::Frame>(tid_, base::RemotePtr(parked.frame));
  noted_ = process::read_resident_thread(tid_, static_cast<pid_t>(parked.tid));
  mask_ = view.mask(frame_.signal_mask, noted_ ? noted_->blocked : 0);
  const StopRegisters stop = registers_at_stop(frame_, parked.bases, call_of(tid_, seen, frame_));
  registers_ = stop.registers;
  if (noted_ && noted_->given_up != 0 && noted_->given_up == registers_.rip &&
      registers_.rax == SYS_rt_sigtimedwait) {
    take_back_giving_up();
  }
  put(tid_, place_, offsetof(agent::ParkedThread, behind_call), stop.behind_call);
  put<std::uint64_t>(tid_, place_, offsetof(agent::ParkedThread, any_handler_ends_it),
                     stop.end == CallEnd::by_any_handler ? 1 : 0);
  put(tid_, place_, offsetof(agent::ParkedThread, timeout), agent::LateTimeout{});  // its own guess
  tell_way_on();
}

// As it would be seen if it had made the call by itself: its timeout is cut down then.
void ParkedThread::take_back_giving_up() {
  constexpr std::uint64_t kInstructionBytes = 2;
  registers_.orig_rax = registers_.rax;
  registers_.rax = static_cast<std::uint64_t>(-EINTR);
  registers_.rip += kInstructionBytes;
}

// The call goes on with the set that the filter lets pass; in an image it has the program's own.
Registers ParkedThread::registers_to_save() const {
  Registers saved = registers_;
  if (!noted_) return saved;
  for (auto* argument : {&saved.rdi, &saved.r10, &saved.r8, &saved.r9}) {
    if (is_in_agent(*argument)) *argument = noted_->program_pointer;
  }
  return saved;
}

void ParkedThread::set_registers(const Registers& registers) {
  registers_ = registers;
  tell_way_on();
}

std::optional<std::int64_t> ParkedThread::interrupted_ns() const {
  if (interrupted_ns_ == 0) return std::nullopt;
  return interrupted_ns_ - clock_ahead_ns_;
}

bool ParkedThread::cut_down_on_leaving(const process::RunningTimeout& timeout) {
  using Form = process::RunningTimeout::Form;
  agent::LateTimeout late{agent::kTimespec, timeout.place, timeout.deadline_ns + clock_ahead_ns_};
  if (timeout.form == Form::timeval) late.form = agent::kTimeval;
  if (timeout.form == Form::milliseconds) {
    late.form = agent::kMilliseconds;
    late.place = kArguments.at(timeout.place) / sizeof(std::uint64_t);
  }
  put(tid_, place_, offsetof(agent::ParkedThread, timeout), late);
  return true;
}

void ParkedThread::note_call() {
  const SleptCall slept = slept_call(registers_);
  put(tid_, place_, offsetof(agent::ParkedThread, slept), slept);
  if (slept[0] == 0) {
    log_.erase(tid_);
  } else {
    log_[tid_] = to_call(slept);
  }
}

void ParkedThread::tell_way_on() {
  note_call();
  const WayOn on = way_on(registers_);
  const auto same = [this](const Registers& r) {
    return r.rip == frame_.rip && r.rax == frame_.rax && r.rdi == frame_.rdi &&
           r.rsi == frame_.rsi && r.rdx == frame_.rdx && r.r10 == frame_.r10 && r.r8 == frame_.r8 &&
           r.r9 == frame_.r9 && r.rsp == frame_.rsp;
  };
  const std::uint32_t how = on.restarts          ? agent::kRestarting
                            : same(on.registers) ? agent::kUnchanged
                                                 : agent::kChanged;
  put(tid_, place_, offsetof(agent::ParkedThread, registers), on.registers);
  put(tid_, place_, offsetof(agent::ParkedThread, how), how);
}

// Far below the frame and what our handler has on the stack: all that is given up before the kernel
// reads there.
base::RemotePtr ParkedThread::scratch() const {
  constexpr std::uint64_t kBelow = 4096;
  return base::RemotePtr((frame_address_ - kBelow) & ~std::uint64_t{15});
}

std::vector<std::byte> ParkedThread::extended_registers() const {
  return process::extended_registers_at(tid_, base::RemotePtr(frame_.extended));
}

process::RseqConfiguration ParkedThread::rseq() const {
  if (!noted_ || noted_->sequence == 0) return {};
  // What an earlier thread of the same number has left is older than this one.
  if (noted_->sequence_ns < start_ns(process::read_stat(pid_, tid_))) return {};
  return {noted_->sequence, noted_->sequence_bytes, noted_->sequence_signature};
}

// Its agent has noted those that are the youngest of all.
process::SeccompProgram ParkedThread::seccomp_filter(std::uint32_t index) const {
  const std::uint32_t all = process::read_status(pid_, tid_).seccomp_filters;
  const auto noted = process::read_noted_filters(pid_);
  if (index < all && all - index <= noted.size()) return noted[noted.size() - (all - index)];
  throw base::Error(base::ErrorCode::refused,
                    fmt::format("process {} has seccomp filters of its own that cannot be read in "
                                "the wrapped mode",
                                pid_),
                    "run the program without its sandbox, or launch it with --mode external");
}

// It takes them and queues them again itself: nobody else can look at them.
std::vector<siginfo_t> ParkedThread::pending_signals(bool shared) const {
  const process::Status status = process::read_status(pid_, tid_);
  const std::uint64_t waiting = (shared ? status.shd_pnd : status.sig_pnd) & ~our_signals_;
  if (waiting == 0) return {};
  constexpr std::uint64_t kMost = 4096;
  const std::uint64_t bytes = kMost * sizeof(siginfo_t);
  const auto buffer = static_cast<std::uint64_t>(
      agent_->call(SYS_mmap, {0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0},
                   "map memory for queued signals"));
  const std::uint64_t wish[3] = {waiting, buffer, kMost};
  static_assert(offsetof(agent::ParkedThread, capacity) ==
                offsetof(agent::ParkedThread, signals) + 2 * sizeof(std::uint64_t));
  process::write_memory(tid_, place_ + offsetof(agent::ParkedThread, signals),
                        std::as_bytes(std::span(wish)));
  const std::int64_t count = agent_->call(agent::kCollectSignals, {index_, leader_, shared ? 1 : 0},
                                          "write down queued signals");
  std::vector<siginfo_t> queued(static_cast<std::size_t>(count));
  process::read_memory(tid_, base::RemotePtr(buffer), std::as_writable_bytes(std::span(queued)));
  agent_->call(SYS_munmap, {buffer, bytes}, "unmap what was for queued signals");
  if (ids_ != nullptr) {
    for (siginfo_t& info : queued) {
      agent::translate_info(ids_->table(), agent::Way::kToProgram, &info);
    }
  }
  return queued;
}

}  // namespace torpor::wrapped
