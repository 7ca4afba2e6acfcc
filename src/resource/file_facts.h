// What a file is like, to recognise it at a restart.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <optional>
#include <string>

#include "proto/snapshot.pb.h"

namespace torpor::resource {

snapshot::FileFacts file_facts(const struct ::stat& status);

// Of a path as process `pid` sees it. Throws Error not_found, permission.
snapshot::FileFacts file_facts_of(pid_t pid, const std::string& path);

// How a file differs from what it was ("its size is 5, it was 4"); nothing if it is the same as far
// as can be told: size and time of modification. Inode and device may differ, on another host they
// do.
std::optional<std::string> difference(const snapshot::FileFacts& was, const struct ::stat& now);

}  // namespace torpor::resource
