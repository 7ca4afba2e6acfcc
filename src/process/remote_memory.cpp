#include "process/remote_memory.h"

#include <fcntl.h>

#include "base/error.h"
#include "process/proc_stat.h"

namespace torpor::process {
namespace {

ssize_t read_by_call(pid_t pid, base::RemotePtr from, std::span<std::byte> into) {
  const iovec here{into.data(), into.size()};
  const iovec there{reinterpret_cast<void*>(from.address()), into.size()};
  return ::process_vm_readv(pid, &here, 1, &there, 1, 0);
}

// Whether it has given its memory up, or is about to: its files in /proc belong to root then
// (task_dump_owner(), fs/proc/base.c), and its memory is empty.
bool is_exiting(pid_t pid) {
  constexpr std::uint32_t kExiting = 0x4;  // PF_EXITING
  try {
    return (read_stat(pid).flags & kExiting) != 0;
  } catch (const base::Error&) {
    return true;
  }
}

// Of a call that has just failed.
int error_of(pid_t pid) {
  const int error = errno;
  return is_exiting(pid) ? ESRCH : error;
}

base::UniqueFd open_memory(pid_t pid) {
  base::UniqueFd file(::open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDWR | O_CLOEXEC));
  if (file) return file;
  base::throw_errno(error_of(pid), fmt::format("cannot open the memory of process {}", pid));
}

}  // namespace

void read_memory(pid_t pid, base::RemotePtr from, std::span<std::byte> into) {
  if (read_by_call(pid, from, into) == static_cast<ssize_t>(into.size())) return;
  RemoteMemory(pid, RemoteMemory::Way::file).read(from, into);
}

void write_memory(pid_t pid, base::RemotePtr to, std::span<const std::byte> bytes) {
  RemoteMemory(pid).write(to, bytes);
}

bool is_refusal_of_host(int error) { return error == EPERM || error == ENOSYS; }

RemoteMemory::RemoteMemory(pid_t pid, Way way)
    : pid_(pid), file_(open_memory(pid)), by_call_(way == Way::automatic) {}

// What a call has done; if the host refuses it, that is noted.
bool RemoteMemory::done(ssize_t result, std::size_t wanted) const {
  if (result < 0 && is_refusal_of_host(errno)) by_call_ = false;
  return result == static_cast<ssize_t>(wanted);
}

void RemoteMemory::read(base::RemotePtr from, std::span<std::byte> into) const {
  if (by_call_ && done(read_by_call(pid_, from, into), into.size())) return;
  const ssize_t got =
      ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(from.address()));
  if (got == static_cast<ssize_t>(into.size())) return;
  if (got >= 0) errno = EIO;
  base::throw_errno(error_of(pid_), fmt::format("cannot read {} bytes at {:#x} of process {}",
                                                into.size(), from.address(), pid_));
}

void RemoteMemory::write(base::RemotePtr to, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(to.address()));
    if (put <= 0) {
      if (put == 0) errno = EIO;
      base::throw_errno(error_of(pid_), fmt::format("cannot write {} bytes at {:#x} of process {}",
                                                    bytes.size(), to.address(), pid_));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    to = to + static_cast<std::uint64_t>(put);
  }
}

void RemoteMemory::scatter(std::span<const std::byte> bytes, std::span<const iovec> places) const {
  const iovec here{const_cast<std::byte*>(bytes.data()), bytes.size()};
  if (by_call_ &&
      done(::process_vm_writev(pid_, &here, 1, places.data(), places.size(), 0), bytes.size())) {
    return;
  }
  for (const iovec& place : places) {
    write(base::RemotePtr(reinterpret_cast<std::uint64_t>(place.iov_base)),
          bytes.first(place.iov_len));
    bytes = bytes.subspan(place.iov_len);
  }
}

}  // namespace torpor::process
