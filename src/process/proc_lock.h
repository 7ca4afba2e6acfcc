// The locks of a file description, as fdinfo lists them (proc_locks(5)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace torpor::process {

struct FileLock {
  std::string kind;    // "POSIX", "FLOCK", "OFDLCK", "LEASE", "DELEG"
  std::string mode;    // "ADVISORY"; of leases "ACTIVE", "BREAKING", "BREAKER"
  std::string access;  // "READ", "WRITE", "UNLCK"
  pid_t pid = 0;       // the process that took it, -1: OFD lock
  uint32_t dev_major = 0;
  uint32_t dev_minor = 0;
  uint64_t inode = 0;
  uint64_t start = 0;          // first byte
  uint64_t last = to_the_end;  // last byte, included

  static constexpr uint64_t to_the_end = UINT64_MAX;
};

// Parses one of FdInfo::locks. `file` is for the message of an error.
FileLock parse_lock(std::string_view line, std::string_view file = "lock");

}  // namespace torpor::process
