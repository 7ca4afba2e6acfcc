// One thread of a process that is held, whoever stopped it: ptrace (tracee.h) or a signal.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <sys/user.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/remote_ptr.h"

namespace torpor::process {

using Registers = user_regs_struct;

// Where a thread's restartable sequence is registered (rseq(2)); address 0 if it is not.
struct RseqConfiguration {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  std::uint32_t signature = 0;
};

struct SeccompProgram {
  std::string instructions;  // array of struct sock_filter
  std::uint64_t flags = 0;   // SECCOMP_FILTER_FLAG_*: only _LOG can be read back
};

// What is left of a timeout where the thread will find it: in memory, or in a register.
struct RunningTimeout {
  enum class Form { timespec, timeval, milliseconds };
  Form form;
  std::uint64_t place;       // address, or which argument of the call
  std::int64_t deadline_ns;  // CLOCK_MONOTONIC of ours
};

// What a checkpoint asks of a thread, and the little that it changes: a call that the kernel would
// not enter again is made to be. Only while it is stopped. All throw base::Error: program_gone if
// it was killed.
class StoppedThread {
 public:
  virtual ~StoppedThread() = default;

  [[nodiscard]] virtual pid_t pid() const = 0;  // in our own pid namespace
  [[nodiscard]] virtual pid_t tid() const = 0;

  // As the kernel has them at a stop: orig_rax is the call in which it was stopped, or -1, and rax
  // may be -ERESTART...: with these registers it enters the call again.
  [[nodiscard]] virtual Registers registers() const = 0;
  virtual void set_registers(const Registers& registers) = 0;
  // When its call was interrupted (CLOCK_MONOTONIC of ours), if it can tell.
  [[nodiscard]] virtual std::optional<std::int64_t> interrupted_ns() const { return std::nullopt; }
  // After set_registers(): it will itself put there what is left at the moment at which it goes on.
  // False if it cannot.
  virtual bool cut_down_on_leaving(const RunningTimeout& /*timeout*/) { return false; }
  // The same as they belong into an image: without what is ours in them.
  [[nodiscard]] virtual Registers registers_to_save() const { return registers(); }
  // Room for a few words that the thread will find when it goes on, and nobody uses till then:
  // below its red zone, where the kernel itself would put a signal frame.
  [[nodiscard]] virtual base::RemotePtr scratch() const;
  [[nodiscard]] virtual std::vector<std::byte> extended_registers() const = 0;  // XSAVE, standard
  [[nodiscard]] virtual std::uint64_t signal_mask() const = 0;
  // Queued signals, oldest first; `shared`: those of the process.
  [[nodiscard]] virtual std::vector<siginfo_t> pending_signals(bool shared) const = 0;
  [[nodiscard]] virtual RseqConfiguration rseq() const = 0;
  // Whether its system calls are handed to itself (prctl(2), PR_SET_SYSCALL_USER_DISPATCH). False
  // where nobody can tell.
  [[nodiscard]] virtual bool dispatches_system_calls() const = 0;
  // The filter that was installed `index`th, 0 the oldest. not_found when there are not so many.
  [[nodiscard]] virtual SeccompProgram seccomp_filter(std::uint32_t index) const = 0;

 protected:
  StoppedThread() = default;
  StoppedThread(const StoppedThread&) = default;
  StoppedThread& operator=(const StoppedThread&) = default;
};

}  // namespace torpor::process
