#include "process/injection.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>

#include "agent/blob.h"
#include "base/error.h"
#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "process/proc_tree.h"
#include "process/remote_memory.h"
#include "process/rseq.h"

namespace torpor::process {
namespace {

using agent::Context;
using Clock = std::chrono::steady_clock;

// No direction, trap or alignment check flag: those are the program's. Interrupts are on (bit 9),
// bit 1 is always set.
constexpr std::uint64_t kPlainFlags = 0x202;
constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
constexpr int kSpins = 1000;
constexpr int kStepMs = 30000;  // on a starved machine even a ready thread waits for seconds

std::size_t code_bytes() {
  return (agent::agent_blob().size() + agent::kPage - 1) / agent::kPage * agent::kPage;
}

agent::BlobHeader blob_header() {
  agent::BlobHeader header{};
  std::memcpy(&header, agent::agent_blob().data(), sizeof(header));
  return header;
}

constexpr std::int64_t kRestartBlock = -516;  // ERESTART_RESTARTBLOCK
constexpr std::int64_t kRestartFirst = -514;  // ERESTARTNOHAND
constexpr std::int64_t kRestartLast = -512;   // ERESTARTSYS

// Registers from which the thread can go on without the kernel's help, should we be lost: an
// interrupted system call is made again.
Registers able_to_return(Registers registers) {
  const auto result = static_cast<std::int64_t>(registers.rax);
  if (static_cast<std::int64_t>(registers.orig_rax) < 0) return registers;
  if (result == kRestartBlock) {
    registers.rax = SYS_restart_syscall;
    registers.rip -= 2;
  } else if (result >= kRestartFirst && result <= kRestartLast) {
    registers.rax = registers.orig_rax;
    registers.rip -= 2;
  }
  return registers;
}

base::UniqueFd take_peer(pid_t pid, pid_t tid, int fd) {
  constexpr unsigned kThread = O_EXCL;  // PIDFD_THREAD, Linux 6.9
  base::UniqueFd process(
      static_cast<int>(::syscall(SYS_pidfd_open, tid, pid == tid ? 0 : kThread)));
  if (!process) process.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) base::throw_system("cannot open process {}", pid);
  base::UniqueFd socket(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), fd, 0)));
  if (!socket) base::throw_system("cannot take a descriptor from process {}", pid);
  return socket;
}

std::optional<base::RemotePtr> find_in(pid_t pid, const Mapping& mapping) {
  constexpr std::size_t kMost = 1 << 20;
  std::vector<std::byte> text(std::min<std::size_t>(mapping.size(), kMost));
  try {
    read_memory(pid, base::RemotePtr(mapping.start), text);
  } catch (const base::Error&) {
    return std::nullopt;
  }
  constexpr std::array<std::byte, 2> kSyscall{std::byte{0x0f}, std::byte{0x05}};
  const auto found = std::search(text.begin(), text.end(), kSyscall.begin(), kSyscall.end());
  if (found == text.end()) return std::nullopt;
  return base::RemotePtr(mapping.start + static_cast<std::uint64_t>(found - text.begin()));
}

}  // namespace

base::RemotePtr find_syscall_instruction(pid_t pid, std::uint64_t not_from, std::uint64_t not_to) {
  std::vector<Mapping> maps = read_maps(pid);
  std::stable_partition(maps.begin(), maps.end(),
                        [](const Mapping& m) { return m.path == "[vdso]"; });
  for (const Mapping& mapping : maps) {
    if (!mapping.exec || mapping.path == "[vsyscall]") continue;
    if (mapping.start >= not_from && mapping.start < not_to) continue;
    if (const auto found = find_in(pid, mapping)) return *found;
  }
  throw base::Error(
      base::ErrorCode::refused,
      fmt::format("process {} has no system call instruction that could be borrowed", pid));
}

std::int64_t borrow_thread(Tracee& thread, base::RemotePtr syscall_instruction, std::int64_t number,
                           std::span<const std::uint64_t> arguments) {
  const Registers own = thread.registers();
  Registers registers = own;
  registers.rip = syscall_instruction.address();
  registers.rax = static_cast<std::uint64_t>(number);
  registers.orig_rax = kAllSignals;  // -1: nothing to restart
  registers.eflags = kPlainFlags;
  const std::array<unsigned long long*, 6> slots{&registers.rdi, &registers.rsi, &registers.rdx,
                                                 &registers.r10, &registers.r8,  &registers.r9};
  for (std::size_t i = 0; i < arguments.size() && i < slots.size(); ++i) *slots[i] = arguments[i];
  const std::uint64_t mask = thread.signal_mask();
  thread.set_signal_mask(kAllSignals);
  thread.set_registers(registers);
  thread.make_call(kStepMs);
  const auto result = static_cast<std::int64_t>(thread.registers().rax);
  // In place before the thread leaves the call: it returns straight to where the program was.
  thread.set_registers(own);
  thread.finish_call();
  thread.set_registers(own);
  thread.set_signal_mask(mask);
  return result;
}

InjectedAgent::InjectedAgent(StoppedProcess& process, base::RemotePtr syscall_instruction)
    : thread_(&process.threads.front()),
      pid_(process.memory_pid()),
      syscall_instruction_(syscall_instruction),
      in_group_stop_(process.stop_signal() != 0) {}

std::size_t InjectedAgent::area_bytes() const { return code_bytes() + agent::kContextBytes; }

std::unique_ptr<InjectedAgent> InjectedAgent::enter(StoppedProcess& process) {
  std::unique_ptr<InjectedAgent> injected(
      new InjectedAgent(process, find_syscall_instruction(process.memory_pid())));
  injected->saved_ = outside_critical_section(*injected->thread_, injected->thread_->registers());
  injected->saved_mask_ = injected->thread_->signal_mask();
  injected->thread_->set_registers(injected->saved_);
  injected->map_area();
  injected->start_agent();
  injected->connect();
  injected->put_thread_back();
  return injected;
}

void InjectedAgent::map_area() {
  const auto fail = [this](std::int64_t result, const char* what) {
    base::throw_errno(static_cast<int>(-result), fmt::format("process {}: cannot {}", pid_, what));
  };
  const std::array<std::uint64_t, 6> map{
      0, area_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, kAllSignals, 0};
  const std::int64_t at = borrow_thread(*thread_, syscall_instruction_, SYS_mmap, map);
  if (at < 0 && at >= -4095) fail(at, "map memory for the agent");
  area_ = base::RemotePtr(static_cast<std::uint64_t>(at));
  present_ = true;
  const std::array<std::uint64_t, 3> protect{area_.address(), code_bytes(), PROT_READ | PROT_EXEC};
  const std::int64_t done = borrow_thread(*thread_, syscall_instruction_, SYS_mprotect, protect);
  if (done < 0) fail(done, "make the agent executable");
}

void InjectedAgent::start_agent() {
  Context context{};
  context.code = area_.address();
  context.code_bytes = code_bytes();
  context.socket = -1;
  context.injected = 1;
  // In a process that is in a group stop a new thread would join it at once; only one that is
  // traced can be told to run all the same.
  context.agent_clone_flags = in_group_stop_ ? 0 : CLONE_UNTRACED;
  context.saved_mask = saved_mask_;
  const Registers back = able_to_return(saved_);
  static_assert(sizeof(back) == sizeof(context.saved_registers));
  std::memcpy(&context.saved_registers, &back, sizeof(back));
  write_memory(pid_, area_, agent::agent_blob());
  const base::RemotePtr place = area_ + code_bytes();
  // Only what lies before the message buffer matters.
  write_memory(pid_, place,
               std::as_bytes(std::span(&context, 1)).first(offsetof(Context, message)));
  Registers registers = saved_;
  registers.rip = (area_ + blob_header().inject_entry).address();
  registers.rdi = place.address();
  registers.orig_rax = kAllSignals;
  registers.eflags = kPlainFlags;
  if (in_group_stop_) thread_->set_options(PTRACE_O_TRACECLONE);
  thread_->set_signal_mask(kAllSignals);
  thread_->set_registers(registers);
  thread_is_away_ = true;
  thread_->resume();
}

void InjectedAgent::look_after_traced_agent() {
  if (!in_group_stop_) return;
  if (!traced_agent_) {
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(thread_->tid()), &info, WSTOPPED | WNOHANG | __WALL);
    if (info.si_pid != thread_->tid()) return;
    unsigned long tid = 0;
    if (info.si_status >> 8 == PTRACE_EVENT_CLONE &&
        ::ptrace(PTRACE_GETEVENTMSG, thread_->tid(), nullptr, &tid) == 0) {
      traced_agent_ = Tracee::adopt(pid_, static_cast<pid_t>(tid));
    }
    ::ptrace(PTRACE_CONT, thread_->tid(), nullptr, nullptr);
    return;
  }
  if (traced_agent_->poll() && traced_agent_->state() == Tracee::State::stopped) {
    traced_agent_->resume();
  }
}

void InjectedAgent::await_state(std::uint32_t wanted) {
  const base::RemotePtr word = area_ + code_bytes() + offsetof(Context, state);
  const auto deadline = Clock::now() + std::chrono::milliseconds(kStepMs);
  for (int spins = 0;; ++spins) {
    const auto state = read_value<std::uint32_t>(pid_, word);
    if (state == wanted) return;
    if (state == agent::kFailed || state == agent::kReturning) {
      const auto error =
          read_value<std::int32_t>(pid_, area_ + code_bytes() + offsetof(Context, inject_error));
      base::throw_errno(error == 0 ? ETIMEDOUT : error,
                        fmt::format("process {}: the agent could not start", pid_));
    }
    look_after_traced_agent();
    if (Clock::now() > deadline) {
      throw base::Error(base::ErrorCode::timeout,
                        fmt::format("process {}: the agent does not start", pid_));
    }
    if (spins < kSpins) {
      ::sched_yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
}

void InjectedAgent::connect() {
  await_state(agent::kSocketReady);
  const base::RemotePtr place = area_ + code_bytes();
  const auto peer = read_value<std::int32_t>(pid_, place + offsetof(Context, peer_socket));
  const auto own = read_value<std::int32_t>(pid_, place + offsetof(Context, socket));
  agent_tid_ = read_value<std::int32_t>(pid_, place + offsetof(Context, agent_tid));
  client_.emplace(take_peer(thread_->pid(), thread_->tid(), peer), pid_, place, area_);
  client_->set_remote_socket(own);
  if (in_group_stop_) client_->set_idle([this] { look_after_traced_agent(); });
  client_->call(agent::kLetGo, {}, "let the thread that brought the agent in go");
}

void InjectedAgent::put_thread_back() {
  if (!thread_is_away_) return;
  thread_is_away_ = false;
  thread_->interrupt();
  if (!thread_->wait(kStepMs) || thread_->state() == Tracee::State::gone) {
    throw base::Error(base::ErrorCode::program_gone, fmt::format("process {} was killed", pid_));
  }
  const std::uint64_t at = thread_->registers().rip - area_.address();
  if (at < code_bytes()) {
    thread_->set_registers(saved_);
    thread_->set_signal_mask(saved_mask_);
  }
  if (in_group_stop_) thread_->set_options(0);
}

void InjectedAgent::leave() {
  if (!present_) return;
  present_ = false;
  if (client_) {
    Batch end(*client_);
    end.call(SYS_exit, {0}, "end");
    end.start();
    // End of file: the thread is in the kernel for good and needs the area no more.
    pollfd wait{client_->socket(), POLLIN, 0};
    for (int i = 0; i < kStepMs && ::poll(&wait, 1, 1) <= 0; ++i) look_after_traced_agent();
    client_.reset();
  }
  if (traced_agent_) traced_agent_->wait(kStepMs);
  unmap_area();
}

void InjectedAgent::unmap_area() {
  const std::array<std::uint64_t, 2> range{area_.address(), area_bytes()};
  const std::int64_t done = borrow_thread(*thread_, syscall_instruction_, SYS_munmap, range);
  if (done < 0) {
    base::throw_errno(static_cast<int>(-done),
                      fmt::format("process {}: cannot unmap the agent", pid_));
  }
}

bool InjectedAgent::agent_is_gone() const {
  const auto tid =
      read_value<std::int32_t>(pid_, area_ + code_bytes() + offsetof(Context, agent_tid));
  for (const pid_t thread : list_threads(thread_->pid())) {
    const Status status = read_status(thread_->pid(), thread);
    if (!status.nspid.empty() && status.nspid.back() == tid) return false;
  }
  return true;
}

// The agent was started but could not be reached. It and the thread that brought it in are told
// through memory: the thread closes the descriptors that it made, the agent's thread ends.
void InjectedAgent::give_up_entering() {
  if (!thread_is_away_ || client_) return;
  write_value<std::uint32_t>(pid_, area_ + code_bytes() + offsetof(Context, finish), 1);
  const auto deadline = Clock::now() + std::chrono::milliseconds(kStepMs);
  while (!agent_is_gone()) {
    if (Clock::now() > deadline) {
      present_ = false;  // it may still be in there: the area has to stay
      break;
    }
    look_after_traced_agent();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

InjectedAgent::~InjectedAgent() {
  try {
    give_up_entering();
    put_thread_back();
    leave();
  } catch (const base::Error&) {
    // The process was killed meanwhile, or is being left to itself by our own end.
  }
}

}  // namespace torpor::process
