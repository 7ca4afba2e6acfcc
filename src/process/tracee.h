// One thread of another process, held with ptrace.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "process/stopped_thread.h"

namespace torpor::process {

// All calls must come from the thread that made the Tracee (ptrace(2)). The destructor detaches;
// the kernel does the same if we die, and in both cases the thread goes on by itself, an
// interrupted system call included.
class Tracee : public StoppedThread {
 public:
  enum class State {
    running,
    stopped,  // in a PTRACE_EVENT_STOP, where registers may be read and set
    gone,     // it has exited
  };

  // PTRACE_SEIZE (Linux 3.4). Nothing if the thread is gone or exiting. Throws Error permission.
  // `options` are PTRACE_O_*.
  static std::optional<Tracee> seize(pid_t pid, pid_t tid, unsigned long options = 0);
  // A thread that the kernel attached to us when it was born (PTRACE_O_TRACECLONE).
  static Tracee adopt(pid_t pid, pid_t tid) { return {pid, tid}; }
  Tracee(Tracee&& other) noexcept;
  Tracee& operator=(Tracee&& other) noexcept;
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;
  ~Tracee() override;

  [[nodiscard]] pid_t pid() const override { return pid_; }
  [[nodiscard]] pid_t tid() const override { return tid_; }
  [[nodiscard]] State state() const { return state_; }
  // The signal of a group stop that the thread takes part in, or 0. Valid when stopped.
  [[nodiscard]] int stop_signal() const { return stop_signal_; }

  // Asks a running thread to stop; it does so soon unless it waits for a vfork child or in D state.
  void interrupt();
  // Looks for a change of state without waiting. Signals that come first are delivered on the way.
  // True if it is stopped or gone now.
  bool poll();
  // Waits with increasing naps. False if it is still running after `milliseconds`.
  bool wait(int milliseconds);
  // Lets a stopped thread run on under our eyes.
  void resume();
  // Lets a stopped thread, whose next instruction is `syscall`, make that call: afterwards it is
  // stopped at the end of the call, or it is still in it after `milliseconds` and then false is
  // returned; finish_call() follows either way. No signal is involved: a single step would be a
  // forced SIGTRAP, which resets the program's disposition if it blocks or ignores that signal.
  // Throws Error program_gone.
  bool make_call(int milliseconds);
  // Brings the thread from there to an ordinary stop, in which its registers may be set for good.
  // An unfinished call is interrupted.
  void finish_call();
  // After SIGKILL: waits until it has ended.
  void await_end(int milliseconds);
  // Lets the thread go for good.
  void detach();
  void set_options(unsigned long options);

  // All below: only while stopped. They throw Error program_gone if the thread was killed.
  [[nodiscard]] Registers registers() const override;
  void set_registers(const Registers& registers) override;
  [[nodiscard]] std::vector<std::byte> extended_registers() const override;  // NT_X86_XSTATE
  void set_extended_registers(std::span<const std::byte> state);
  [[nodiscard]] std::uint64_t signal_mask() const override;
  void set_signal_mask(std::uint64_t mask);
  // PTRACE_PEEKSIGINFO, Linux 3.10.
  [[nodiscard]] std::vector<siginfo_t> pending_signals(bool shared) const override;
  [[nodiscard]] RseqConfiguration rseq() const override;        // Linux 5.13; else none
  [[nodiscard]] bool dispatches_system_calls() const override;  // Linux 6.4; else false
  [[nodiscard]] SeccompProgram seccomp_filter(std::uint32_t index) const override;

 private:
  Tracee(pid_t pid, pid_t tid) : pid_(pid), tid_(tid) {}
  bool await_syscall_stop(int milliseconds);
  [[nodiscard]] bool is_dead() const;
  void took_stop(int status);
  void took_exit();
  [[noreturn]] void fail(const char* what) const;

  pid_t pid_ = 0;
  pid_t tid_ = 0;
  State state_ = State::running;
  int stop_signal_ = 0;
  bool attached_ = true;
  bool in_call_ = false;  // after make_call(): no end of the call has been seen
};

}  // namespace torpor::process
