#include "process/remote_memory.h"

#include <fcntl.h>

#include "base/error.h"
#include "base/unique_fd.h"

namespace torpor::process {
namespace {

base::UniqueFd open_memory(pid_t pid, int flags) {
  base::UniqueFd file(::open(fmt::format("/proc/{}/mem", pid).c_str(), flags | O_CLOEXEC));
  if (!file) base::throw_system("cannot open the memory of process {}", pid);
  return file;
}

}  // namespace

void read_memory(pid_t pid, base::RemotePtr from, std::span<std::byte> into) {
  const iovec here{into.data(), into.size()};
  const iovec there{reinterpret_cast<void*>(from.address()), into.size()};
  const ssize_t got = ::process_vm_readv(pid, &here, 1, &there, 1, 0);
  if (got == static_cast<ssize_t>(into.size())) return;
  const base::UniqueFd file = open_memory(pid, O_RDONLY);
  const ssize_t again =
      ::pread(file.get(), into.data(), into.size(), static_cast<off_t>(from.address()));
  if (again == static_cast<ssize_t>(into.size())) return;
  if (again >= 0) errno = EIO;
  base::throw_system("cannot read {} bytes at {:#x} of process {}", into.size(), from.address(),
                     pid);
}

void write_memory(pid_t pid, base::RemotePtr to, std::span<const std::byte> bytes) {
  const base::UniqueFd file = open_memory(pid, O_RDWR);
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(to.address()));
    if (put <= 0) {
      if (put == 0) errno = EIO;
      base::throw_system("cannot write {} bytes at {:#x} of process {}", bytes.size(), to.address(),
                         pid);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    to = to + static_cast<std::uint64_t>(put);
  }
}

void scatter_memory(pid_t pid, std::span<const std::byte> bytes, std::span<const iovec> places) {
  const iovec here{const_cast<std::byte*>(bytes.data()), bytes.size()};
  const ssize_t put = ::process_vm_writev(pid, &here, 1, places.data(), places.size(), 0);
  if (put == static_cast<ssize_t>(bytes.size())) return;
  for (const iovec& place : places) {
    write_memory(pid, base::RemotePtr(reinterpret_cast<std::uint64_t>(place.iov_base)),
                 bytes.first(place.iov_len));
    bytes = bytes.subspan(place.iov_len);
  }
}

}  // namespace torpor::process
