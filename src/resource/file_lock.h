// Locks on files: flock(2), POSIX record locks and those of open file descriptions (fcntl(2)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "process/held_process.h"
#include "resource/file_kind.h"

namespace torpor::resource {

// A lock as a descriptor's fdinfo lists it: those of the description, and the process's own POSIX
// locks on the file (fs/locks.c, show_fd_locks); also those that another process took through the
// same description.
struct FoundLock {
  pid_t pid = 0;  // whose descriptor
  std::uint64_t open_file = 0;
  std::string line;
};

// Leases cannot be saved.
std::optional<Refusal> check_locks(const process::FdInfo& info);

// Each lock once, into OpenFile.locks. A process's POSIX lock goes to a description through which
// the process can take it again.
void capture_locks(std::span<const FoundLock> found, CaptureState& state);

// The locks that belong to the description itself: flock and OFD. `fd` is ours. Throws Error
// conflict naming the file, where somebody else holds the lock now.
void restore_description_locks(int fd, const snapshot::OpenFile& file);

// The POSIX locks of the process on this file, taken by itself through its descriptor `fd`. Throws
// as above.
void restore_process_locks(process::HeldProcess& held, int fd, const snapshot::OpenFile& file);

}  // namespace torpor::resource
