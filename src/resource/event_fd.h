// eventfd(2): a counter.
#pragma once

#include <memory>

#include "base/unique_fd.h"
#include "process/proc_fdinfo.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

class FileKind;

std::unique_ptr<FileKind> make_event_fd_kind();

// The counter as fdinfo shows it. Where the kernel does not tell (before 6.5) whether it is a
// semaphore, it is taken for a plain one.
snapshot::EventFd read_event_fd(const process::EventfdInfo& info);

// A new eventfd with the same counter, close-on-exec. Precondition: count is not 2^64-1, which only
// the kernel itself can reach. Throws Error.
base::UniqueFd make_event_fd(const snapshot::EventFd& record);

}  // namespace torpor::resource
