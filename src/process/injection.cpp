#include "process/injection.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "agent/blob.h"
#include "agent/thread_place.h"
#include "base/error.h"
#include "process/proc_stat.h"
#include "process/raw_process.h"
#include "process/remote_memory.h"
#include "process/rseq.h"

namespace torpor::process {
namespace {

using agent::Context;
using Clock = std::chrono::steady_clock;

constexpr int kSpins = 1000;
constexpr int kStepMs = 30000;  // on a starved machine even a ready thread waits for seconds

std::size_t code_bytes() {
  return (agent::agent_blob().size() + agent::kPage - 1) / agent::kPage * agent::kPage;
}

}  // namespace

InjectedAgent::InjectedAgent(StoppedProcess& process)
    : thread_(&process.threads.front()),
      pid_(process.memory_pid()),
      threads_before_(read_stat(pid_).num_threads),
      detour_(Detour::enter(process.memory_pid(), process.threads)),
      in_group_stop_(process.stop_signal() != 0) {}

std::size_t InjectedAgent::area_bytes() const { return code_bytes() + agent::kContextBytes; }

base::RemotePtr InjectedAgent::context_word(std::size_t offset) const {
  return area_ + code_bytes() + offset;
}

std::unique_ptr<InjectedAgent> InjectedAgent::enter(StoppedProcess& process, Reach reach) {
  std::unique_ptr<InjectedAgent> injected(new InjectedAgent(process));
  Tracee& thread = *injected->thread_;
  const Registers now = thread.registers();
  const Registers outside = outside_critical_section(thread, now);
  if (std::memcmp(&now, &outside, sizeof(now)) != 0) thread.set_registers(outside);
  injected->borrowed_.emplace(thread, injected->detour_, Detour::Unmap{0, injected->area_bytes()});
  injected->map_area();
  injected->start_agent();
  injected->connect(reach);
  injected->put_thread_back();
  return injected;
}

void InjectedAgent::map_area() {
  const auto fail = [this](std::int64_t result, const char* what) {
    base::throw_errno(static_cast<int>(-result), fmt::format("process {}: cannot {}", pid_, what));
  };
  const std::array<std::uint64_t, 6> map{
      0, area_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~std::uint64_t{0}, 0};
  const std::int64_t at = borrowed_->call(SYS_mmap, map);
  if (at < 0 && at >= -4095) fail(at, "map memory for the agent");
  area_ = base::RemotePtr(static_cast<std::uint64_t>(at));
  present_ = true;
  borrowed_->set_unmap({area_.address(), area_bytes()});
  const std::array<std::uint64_t, 3> protect{area_.address(), code_bytes(), PROT_READ | PROT_EXEC};
  const std::int64_t done = borrowed_->call(SYS_mprotect, protect);
  if (done < 0) fail(done, "make the agent executable");
}

void InjectedAgent::start_agent() {
  Context context{};
  context.code = area_.address();
  context.code_bytes = code_bytes();
  context.socket = -1;
  context.injected = 1;
  context.agent_lives = 1;
  // In a process that is in a group stop a new thread would join it at once; only one that is
  // traced can be told to run all the same.
  context.agent_clone_flags = in_group_stop_ ? 0 : CLONE_UNTRACED;
  context.way_back = detour_.back_entry().address();
  context.way_out = detour_.end_thread_entry().address();
  context.saved_mask = borrowed_->mask();
  const Registers back = able_to_return(borrowed_->own());
  static_assert(sizeof(back) == sizeof(context.saved_registers));
  std::memcpy(&context.saved_registers, &back, sizeof(back));
  write_memory(pid_, area_, agent::agent_blob());
  const base::RemotePtr place = area_ + code_bytes();
  // Only what lies before the message buffer matters.
  write_memory(pid_, place,
               std::as_bytes(std::span(&context, 1)).first(offsetof(Context, message)));
  if (in_group_stop_) thread_->set_options(PTRACE_O_TRACECLONE);
  thread_is_away_ = true;
  borrowed_->send(area_ + agent::blob_header().inject_entry, place.address());
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
  const base::RemotePtr word = context_word(offsetof(Context, state));
  const auto deadline = Clock::now() + std::chrono::milliseconds(kStepMs);
  for (int spins = 0;; ++spins) {
    const auto state = read_value<std::uint32_t>(pid_, word);
    if (state == wanted) return;
    if (state == agent::kFailed || state == agent::kReturning) {
      const auto error =
          read_value<std::int32_t>(pid_, context_word(offsetof(Context, inject_error)));
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

// False where the host does not let us.
bool InjectedAgent::take_socket(int own, int peer) {
  base::UniqueFd socket(take_descriptor_of_thread(thread_->pid(), thread_->tid(), peer));
  if (!socket && is_refusal_of_host(errno)) return false;
  if (!socket) base::throw_system("cannot take a descriptor from process {}", pid_);
  client_.emplace(std::move(socket), pid_, context_word(0), area_);
  client_->set_remote_socket(own);
  return true;
}

void InjectedAgent::connect(Reach reach) {
  await_state(agent::kSocketReady);
  const base::RemotePtr place = area_ + code_bytes();
  const auto peer = read_value<std::int32_t>(pid_, place + offsetof(Context, peer_socket));
  const auto own = read_value<std::int32_t>(pid_, place + offsetof(Context, socket));
  agent_tid_ = read_value<std::int32_t>(pid_, place + offsetof(Context, agent_tid));
  if (reach == Reach::called || !take_socket(own, peer)) be_called(own, peer);
  client_->set_detour(std::make_shared<const Detour>(detour_));
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
  const base::RemotePtr place = context_word(offsetof(Context, thread_is_back));
  write_value<std::uint32_t>(pid_, place, agent::kIsBeingPutBack);
  const std::uint64_t at = thread_->registers().rip - area_.address();
  if (at < code_bytes()) {
    borrowed_->give_back();
  } else {
    borrowed_->forget();
  }
  borrowed_.reset();
  write_value<std::uint32_t>(pid_, place, agent::kIsBack);
  if (in_group_stop_) thread_->set_options(0);
}

void InjectedAgent::leave() {
  if (borrowed_) borrowed_->give_back();
  borrowed_.reset();
  if (present_) {
    present_ = false;
    const bool unmaps_itself = client_ && detour_.leads_back();
    if (client_) end_agent();
    if (traced_agent_) traced_agent_->wait(kStepMs);
    if (!unmaps_itself) unmap_area();
  }
  if (std::exchange(uses_detour_, false)) detour_.leave();
}

// It ends as it would without us, and takes its area along, so that there is no moment in which
// only we could do it.
void InjectedAgent::end_agent() {
  client_->call(agent::kSetUndo, {0, 0}, "forget what to undo");
  write_value<std::uint32_t>(pid_, context_word(offsetof(Context, give_up)), 1);
  ::shutdown(client_->socket(), SHUT_WR);
  // End of file: the thread is in the kernel for good and needs the area no more.
  pollfd wait{client_->socket(), POLLIN, 0};
  for (int i = 0; i < kStepMs && ::poll(&wait, 1, 1) <= 0; ++i) look_after_traced_agent();
  client_.reset();
  if (!traced_agent_) await_its_end();
}

// Until then the program could see one thread more in /proc/self/task than it has. If its threads
// were killed meanwhile there are less, or there is no process any more.
void InjectedAgent::await_its_end() const {
  const auto deadline = Clock::now() + std::chrono::milliseconds(kStepMs);
  try {
    while (read_stat(pid_).num_threads > threads_before_ && Clock::now() < deadline) {
      ::sched_yield();
    }
  } catch (const base::Error&) {
  }
}

void InjectedAgent::unmap_area() {
  const std::int64_t done =
      BorrowedThread(*thread_, detour_, {area_.address(), area_bytes()}).unmap();
  if (done < 0) {
    base::throw_errno(static_cast<int>(-done),
                      fmt::format("process {}: cannot unmap the agent", pid_));
  }
}

// The agent was started but could not be reached. It and the thread that brought it in are told
// through memory: the thread closes the descriptors that it made, the agent's thread ends.
void InjectedAgent::give_up_entering() {
  if (!thread_is_away_ || client_) return;
  write_value<std::uint32_t>(pid_, context_word(offsetof(Context, give_up)), 1);
  const auto deadline = Clock::now() + std::chrono::milliseconds(kStepMs);
  while (read_value<std::uint32_t>(pid_, context_word(offsetof(Context, agent_lives))) != 0) {
    if (Clock::now() > deadline) {
      present_ = false;  // it may still be in there: the area has to stay
      uses_detour_ = false;
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
