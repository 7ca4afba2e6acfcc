// Reading and writing another process's memory.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <span>

#include "base/remote_ptr.h"
#include "base/unique_fd.h"

namespace torpor::process {

// process_vm_readv(2); pages that it refuses (PROT_NONE, PROT_EXEC only) are read through
// /proc/PID/mem. Throws Error program_gone, permission, or io (naming the address) unless all of
// `into` was filled.
void read_memory(pid_t pid, base::RemotePtr from, std::span<std::byte> into);

// Through /proc/PID/mem, so that read-only private pages can be written too. Throws likewise.
void write_memory(pid_t pid, base::RemotePtr to, std::span<const std::byte> bytes);

template <typename T>
T read_value(pid_t pid, base::RemotePtr from) {
  T value{};
  read_memory(pid, from, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

// `errno` of a call that containers and hardened hosts refuse (process_vm_readv(2), _writev(2),
// pidfd_getfd(2), kcmp(2)), or that is younger than the kernel: has it been that?
bool is_refusal_of_host(int error);

// The same for many accesses to one process: /proc/PID/mem is opened once, and a call that the host
// refuses is not tried again. May be used by several threads at once.
class RemoteMemory {
 public:
  enum class Way {
    automatic,
    file
  };  // file: as where process_vm_readv(2) and _writev(2) are refused

  // Throws Error program_gone or permission.
  explicit RemoteMemory(pid_t pid, Way way = Way::automatic);

  void read(base::RemotePtr from, std::span<std::byte> into) const;
  void write(base::RemotePtr to, std::span<const std::byte> bytes) const;
  // Writes `bytes`, one after another, to these places, which can be written to and hold as much
  // together (at most IOV_MAX of them).
  void scatter(std::span<const std::byte> bytes, std::span<const iovec> places) const;

 private:
  [[nodiscard]] bool done(ssize_t result, std::size_t wanted) const;

  pid_t pid_;
  base::UniqueFd file_;
  mutable std::atomic<bool> by_call_;
};

template <typename T>
void write_value(pid_t pid, base::RemotePtr to, const T& value) {
  write_memory(pid, to, std::as_bytes(std::span(&value, 1)));
}

}  // namespace torpor::process
