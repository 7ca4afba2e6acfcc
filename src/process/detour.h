// Makes stopped threads of a program make system calls, so that they get back to where they were
// even if we are killed in the middle of it.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/remote_ptr.h"
#include "process/tracee.h"

namespace torpor::process {

// Registers from which the thread can go on without the kernel's help, should we be lost: an
// interrupted system call is made again.
Registers able_to_return(Registers registers);

// Registers with which the thread can run code of ours: no interrupted system call goes on, and no
// flag of the program's (direction, trap, alignment check) is set.
Registers plain(Registers registers);

constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};

// A thread is still in the detour or in the agent that a killed supervisor has left; it is gone
// from there in a moment.
class StillLeaving : public base::Error {
 public:
  using Error::Error;
};

// A few instructions of ours (src/agent/arch/*/detour.S), and what they need to give a thread its
// registers and its signal mask back, in a place where nothing of the program lies and where no
// mapping has to be made first: the unused end of the process's vdso. Writing there makes that page
// a private one of the process (4 KiB). Where there is no such room, a system call instruction of
// the program's is borrowed, and a thread that we leave in the middle of it is lost.
class Detour {
 public:
  // One more user of the process's detour, which is made if there is none yet. Throws Error refused
  // if there is not even an instruction, StillLeaving.
  static Detour enter(pid_t memory_pid, std::span<const Tracee> threads);
  // Only a system call instruction.
  static Detour bare(base::RemotePtr instruction) { return {0, instruction, false}; }

  [[nodiscard]] bool leads_back() const { return leads_back_; }
  [[nodiscard]] base::RemotePtr call_entry() const;
  // Addresses for the agent; null without a way back.
  [[nodiscard]] base::RemotePtr back_entry() const;
  [[nodiscard]] base::RemotePtr end_thread_entry() const;

  // Memory of ours that goes when nobody comes by: `start` 0 is what the call returns.
  struct Unmap {
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
  };
  // For the next thread that is sent here, by whatever way: how it goes on if it is left alone.
  void prepare(const Registers& back, std::uint64_t mask, Unmap unmap) const;
  // One user less; after the last one nothing of it is left. The threads must be stopped elsewhere.
  void leave() const;

 private:
  Detour(pid_t pid, base::RemotePtr at, bool leads_back)
      : pid_(pid), at_(at), leads_back_(leads_back) {}
  [[nodiscard]] base::RemotePtr entry(std::uint64_t offset_in_blob) const;

  pid_t pid_;
  base::RemotePtr at_;
  bool leads_back_;
};

// Makes the bytes of a vdso, read while a detour may be in it, as they are without.
void erase_detour(std::span<std::byte> vdso);

// A stopped thread whose registers and signal mask are ours until give_back(), which the destructor
// calls too. All of its signals are blocked meanwhile.
class BorrowedThread {
 public:
  BorrowedThread(Tracee& thread, const Detour& detour, Detour::Unmap unmap = {});
  BorrowedThread(const BorrowedThread&) = delete;
  BorrowedThread& operator=(const BorrowedThread&) = delete;
  ~BorrowedThread();

  // The raw result, negative errno included. Throws Error program_gone, timeout.
  std::int64_t call(std::int64_t number, std::span<const std::uint64_t> arguments);
  // Unmaps what was said to be unmapped, in the way that needs nobody.
  std::int64_t unmap();
  // What is unmapped from now on if we are lost.
  void set_unmap(Detour::Unmap unmap);
  // Sends the thread elsewhere; it runs.
  void send(base::RemotePtr to, std::uint64_t argument);
  void give_back();
  [[nodiscard]] const Registers& own() const { return own_; }
  [[nodiscard]] std::uint64_t mask() const { return mask_; }
  // It has gone back by itself.
  void forget() { held_ = false; }

 private:
  void set(const Registers& registers);
  std::int64_t finish(const Registers& registers);

  Tracee& thread_;
  Detour detour_;
  Detour::Unmap unmap_;
  Registers own_;
  std::uint64_t mask_;
  bool held_ = false;
};

// Where the first `syscall` instruction begins in these bytes.
std::optional<std::size_t> syscall_in(std::span<const std::byte> text);

// The address of a `syscall` instruction in the process: in the vdso, else in any executable
// mapping that does not begin in [not_from, not_to). Throws Error refused if there is none.
base::RemotePtr find_syscall_instruction(pid_t pid, std::uint64_t not_from = 0,
                                         std::uint64_t not_to = 0);

// One call by an instruction that belongs to the program. Should we be killed while it runs, the
// thread is lost, unless it is to end with us anyway (PTRACE_O_EXITKILL).
std::int64_t borrow_thread(Tracee& thread, base::RemotePtr syscall_instruction, std::int64_t number,
                           std::span<const std::uint64_t> arguments);

}  // namespace torpor::process
