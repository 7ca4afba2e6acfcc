// Reading and writing another process's memory.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <vector>

#include "base/remote_ptr.h"

namespace torpor::process {

// process_vm_readv(2); pages that it refuses (PROT_NONE, PROT_EXEC only) are read through
// /proc/PID/mem. Throws Error program_gone, permission, or io (naming the address) unless all of
// `into` was filled.
void read_memory(pid_t pid, base::RemotePtr from, std::span<std::byte> into);

// Through /proc/PID/mem, so that read-only private pages can be written too. Throws likewise.
void write_memory(pid_t pid, base::RemotePtr to, std::span<const std::byte> bytes);

// Writes `bytes`, one after another, to these places, which can be written to and hold as much
// together (at most IOV_MAX of them). process_vm_writev(2), or write_memory() where that is
// refused.
void scatter_memory(pid_t pid, std::span<const std::byte> bytes, std::span<const iovec> places);

template <typename T>
T read_value(pid_t pid, base::RemotePtr from) {
  T value{};
  read_memory(pid, from, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

template <typename T>
void write_value(pid_t pid, base::RemotePtr to, const T& value) {
  write_memory(pid, to, std::as_bytes(std::span(&value, 1)));
}

}  // namespace torpor::process
