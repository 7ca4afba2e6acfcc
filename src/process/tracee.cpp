#include "process/tracee.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/error.h"
#include "process/proc_status.h"
#include "process/seccomp_filters.h"

namespace torpor::process {
namespace {

constexpr int kEventStop = PTRACE_EVENT_STOP;
// Always on. If we die while a thread is stopped at a system call, the kernel takes what that stop
// reported for a signal to be sent (ptrace_report_syscall() in include/linux/ptrace.h): SIGTRAP,
// which would end the program; with this option a number that is no signal.
constexpr unsigned long kAlways = PTRACE_O_TRACESYSGOOD;
constexpr int kSyscallStop = SIGTRAP | 0x80;
constexpr int kSpinsPerLook = 256;
constexpr std::size_t kSignalsPerCall = 32;
constexpr std::size_t kMaxExtended = 16384;  // AMX needs 11 KiB; the kernel tells the real size

long trace(unsigned request, pid_t tid, const void* address, const void* data) {
  return ::ptrace(static_cast<__ptrace_request>(request), tid, const_cast<void*>(address),
                  const_cast<void*>(data));
}

const void* as_pointer(unsigned long value) { return reinterpret_cast<const void*>(value); }

[[noreturn]] void refuse_seize(pid_t pid, pid_t tid, int error) {
  const Status status = read_status(pid, tid);
  const bool traced = status.tracer_pid != 0;
  const std::string who = traced ? fmt::format("process {} traces it already", status.tracer_pid)
                                 : fmt::format("state {}, user {}", status.state, status.uids[1]);
  throw base::Error(
      base::code_for_errno(error),
      fmt::format("cannot trace thread {} of process {} ({}): {}", tid, pid, who,
                  std::strerror(error)),
      traced
          ? "end that debugger or tracer first"
          : "start the program with `torpor launch`, or be its user or root; what else forbids it "
            "is sysctl kernel.yama.ptrace_scope or the container's policy");
}

bool is_exiting(pid_t pid, pid_t tid) {
  try {
    const char state = read_status(pid, tid).state;
    return state == 'Z' || state == 'X';
  } catch (const base::Error&) {
    return true;
  }
}

}  // namespace

std::optional<Tracee> Tracee::seize(pid_t pid, pid_t tid, unsigned long options) {
  if (trace(PTRACE_SEIZE, tid, nullptr, as_pointer(options | kAlways)) == 0)
    return Tracee(pid, tid);
  const int error = errno;
  if (error == ESRCH || is_exiting(pid, tid)) return std::nullopt;
  refuse_seize(pid, tid, error);
}

Tracee::Tracee(Tracee&& other) noexcept
    : StoppedThread(other),
      pid_(other.pid_),
      tid_(other.tid_),
      state_(other.state_),
      stop_signal_(other.stop_signal_),
      attached_(std::exchange(other.attached_, false)) {}

Tracee& Tracee::operator=(Tracee&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(tid_, other.tid_);
  std::swap(state_, other.state_);
  std::swap(stop_signal_, other.stop_signal_);
  std::swap(attached_, other.attached_);
  return *this;
}

Tracee::~Tracee() { detach(); }

void Tracee::fail(const char* what) const {
  base::throw_errno(errno, fmt::format("cannot {} of thread {} of process {}", what, tid_, pid_));
}

void Tracee::interrupt() { trace(PTRACE_INTERRUPT, tid_, nullptr, nullptr); }

void Tracee::took_stop(int status) {
  const int event = status >> 8;
  const int signal = status & 0xff;
  if (event == kEventStop) {
    state_ = State::stopped;
    stop_signal_ = signal == SIGTRAP ? 0 : signal;
    return;
  }
  // Some other stop came first. Any trap takes back our request to stop (ptrace_stop() in
  // kernel/signal.c), so it is made again; a signal goes on to the program.
  interrupt();
  const bool is_signal = event == 0 && signal != kSyscallStop;
  const unsigned long deliver = is_signal ? static_cast<unsigned long>(signal) : 0;
  trace(PTRACE_CONT, tid_, nullptr, as_pointer(deliver));
}

void Tracee::took_exit() {
  state_ = State::gone;
  attached_ = false;
  // The status of another's child must be taken by the tracer before its parent can see it; that
  // of our own child stays for whoever waits for the program.
  bool ours = false;
  try {
    ours = tid_ == pid_ && read_status(pid_).ppid == ::getpid();
  } catch (const base::Error&) {
    ours = false;
  }
  if (ours) return;
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(tid_), &info, WEXITED | WNOHANG | __WALL);
}

bool Tracee::poll() {
  if (state_ != State::running) return true;
  // One question for both: of a traced thread stops are reported whatever is asked for
  // (wait_task_stopped() in kernel/exit.c), so an answer to WEXITED alone need not be an exit.
  siginfo_t info{};
  const auto id = static_cast<id_t>(tid_);
  if (::waitid(P_PID, id, &info, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL) != 0) {
    state_ = State::gone;  // became another thread by exec, or is gone
    attached_ = false;
    return true;
  }
  if (info.si_pid != tid_) return false;
  if (info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED) {
    took_exit();
    return true;
  }
  ::waitid(P_PID, id, &info, WSTOPPED | WNOHANG | __WALL);
  took_stop(info.si_status);
  return state_ != State::running;
}

// The end of a main thread is not told before that of all others has been taken, and we may be
// waiting for this thread alone.
bool Tracee::is_dead() const { return tid_ == pid_ && is_exiting(pid_, tid_); }

bool Tracee::wait(int milliseconds) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto in_ms = [](const timespec& t) { return t.tv_sec * 1000 + t.tv_nsec / 1000000; };
  const long deadline = in_ms(now) + milliseconds;
  long nap_ns = 2000;
  for (int spins = 0; !poll(); ++spins) {
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    if (in_ms(now) > deadline) return false;
    if (spins < 50) {
      ::sched_yield();
      continue;
    }
    if (spins % kSpinsPerLook == 0 && is_dead()) {
      state_ = State::gone;
      attached_ = false;
      return true;
    }
    const timespec nap{0, nap_ns};
    ::nanosleep(&nap, nullptr);
    nap_ns = std::min(nap_ns * 2, 1000000L);
  }
  return true;
}

void Tracee::resume() {
  trace(PTRACE_CONT, tid_, nullptr, nullptr);
  state_ = State::running;
}

// True at a syscall stop, false when none has come in time. Other stops on the way are passed over:
// all signals are blocked.
bool Tracee::await_syscall_stop(int milliseconds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  for (int spins = 0;; ++spins) {
    siginfo_t info{};
    const auto id = static_cast<id_t>(tid_);
    const int waited = ::waitid(P_PID, id, &info, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL);
    const bool stopped = info.si_pid == tid_ && info.si_code == CLD_TRAPPED;
    if (waited != 0 || (info.si_pid == tid_ && !stopped && info.si_code != CLD_STOPPED)) {
      base::throw_errno(ESRCH, fmt::format("process {} was killed", pid_));
    }
    if (info.si_pid == tid_) {
      ::waitid(P_PID, id, &info, WSTOPPED | WNOHANG | __WALL);
      if (info.si_status == kSyscallStop) return true;
      trace(PTRACE_SYSCALL, tid_, nullptr, nullptr);
    }
    if (std::chrono::steady_clock::now() > deadline) return false;
    if (spins > 100) {
      ::usleep(50);
    } else {
      ::sched_yield();
    }
    if (spins % kSpinsPerLook == 0 && is_dead()) {
      base::throw_errno(ESRCH, fmt::format("process {} was killed", pid_));
    }
  }
}

bool Tracee::make_call(int milliseconds) {
  constexpr int kEntryMs = 30000;
  trace(PTRACE_SYSCALL, tid_, nullptr, nullptr);
  if (!await_syscall_stop(kEntryMs)) {
    base::throw_errno(ETIMEDOUT, fmt::format("thread {} does not make its system call", tid_));
  }
  trace(PTRACE_SYSCALL, tid_, nullptr, nullptr);
  in_call_ = !await_syscall_stop(milliseconds);
  return !in_call_;
}

void Tracee::finish_call() {
  state_ = State::running;
  interrupt();
  // One that is still in the call comes to its end now, which took_stop() passes over. To continue
  // it here could hit that very stop: then nothing would hold the thread any more.
  if (!in_call_) trace(PTRACE_CONT, tid_, nullptr, nullptr);
  constexpr int kFinishMs = 30000;
  if (!wait(kFinishMs)) {
    base::throw_errno(ETIMEDOUT, fmt::format("thread {} of process {} does not stop", tid_, pid_));
  }
  if (state_ == State::gone) base::throw_errno(ESRCH, fmt::format("process {} was killed", pid_));
}

void Tracee::await_end(int milliseconds) {
  if (!attached_) return;
  state_ = State::running;
  wait(milliseconds);
}

void Tracee::detach() {
  if (!attached_) return;
  attached_ = false;
  if (state_ == State::running) {
    // Only a stopped thread can be detached; if it will not stop, our exit detaches it.
    interrupt();
    if (!wait(1000) || state_ == State::gone) return;
  }
  trace(PTRACE_DETACH, tid_, nullptr, nullptr);
  state_ = State::running;
}

void Tracee::set_options(unsigned long options) {
  if (trace(PTRACE_SETOPTIONS, tid_, nullptr, as_pointer(options | kAlways)) != 0) {
    fail("set the options");
  }
}

Registers Tracee::registers() const {
  Registers registers{};
  iovec piece{&registers, sizeof(registers)};
  if (trace(PTRACE_GETREGSET, tid_, as_pointer(NT_PRSTATUS), &piece) != 0) {
    fail("read the registers");
  }
  return registers;
}

void Tracee::set_registers(const Registers& registers) {
  iovec piece{const_cast<Registers*>(&registers), sizeof(registers)};
  if (trace(PTRACE_SETREGSET, tid_, as_pointer(NT_PRSTATUS), &piece) != 0) {
    fail("set the registers");
  }
}

std::vector<std::byte> Tracee::extended_registers() const {
  std::vector<std::byte> state(kMaxExtended);
  iovec piece{state.data(), state.size()};
  if (trace(PTRACE_GETREGSET, tid_, as_pointer(NT_X86_XSTATE), &piece) != 0) {
    fail("read the extended registers");
  }
  state.resize(piece.iov_len);
  return state;
}

void Tracee::set_extended_registers(std::span<const std::byte> state) {
  iovec piece{const_cast<std::byte*>(state.data()), state.size()};
  if (trace(PTRACE_SETREGSET, tid_, as_pointer(NT_X86_XSTATE), &piece) != 0) {
    fail("set the extended registers");
  }
}

std::uint64_t Tracee::signal_mask() const {
  std::uint64_t mask = 0;
  if (trace(PTRACE_GETSIGMASK, tid_, as_pointer(sizeof(mask)), &mask) != 0) {
    fail("read the signal mask");
  }
  return mask;
}

void Tracee::set_signal_mask(std::uint64_t mask) {
  if (trace(PTRACE_SETSIGMASK, tid_, as_pointer(sizeof(mask)), &mask) != 0) {
    fail("set the signal mask");
  }
}

std::vector<siginfo_t> Tracee::pending_signals(bool shared) const {
  std::vector<siginfo_t> all;
  for (;;) {
    std::array<siginfo_t, kSignalsPerCall> some{};
    __ptrace_peeksiginfo_args window{};
    window.off = all.size();
    window.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0;
    window.nr = kSignalsPerCall;
    const long count = trace(PTRACE_PEEKSIGINFO, tid_, &window, some.data());
    if (count < 0) fail("read the pending signals");
    all.insert(all.end(), some.begin(), some.begin() + count);
    if (static_cast<std::size_t>(count) < kSignalsPerCall) return all;
  }
}

RseqConfiguration Tracee::rseq() const {
  __ptrace_rseq_configuration configuration{};
  const long got =
      trace(PTRACE_GET_RSEQ_CONFIGURATION, tid_, as_pointer(sizeof(configuration)), &configuration);
  if (got < 0) return {};
  return {configuration.rseq_abi_pointer, configuration.rseq_abi_size, configuration.signature};
}

bool Tracee::dispatches_system_calls() const { return has_dispatch(tid_); }

SeccompProgram Tracee::seccomp_filter(std::uint32_t index) const {
  return read_filter(tid_, index);
}

}  // namespace torpor::process
