#include "resource/descriptor_scan.h"

#include "base/error.h"
#include "process/kcmp.h"
#include "process/proc_tree.h"

namespace torpor::resource {

FdOwner owner_of(const process::HeldProcess& held) {
  return {held.pid, held.memory_pid(), held.agent};
}

FdOwner owner_of(pid_t pid) {
  if (process::list_fds(pid).empty()) {
    for (const pid_t tid : process::list_threads(pid)) {
      if (!process::list_fds(pid, tid).empty()) return {pid, tid, nullptr};
    }
  }
  return {pid, pid, nullptr};
}

std::vector<int> descriptors_of(const FdOwner& owner) {
  return owner.tid == owner.pid ? process::list_fds(owner.pid)
                                : process::list_fds(owner.pid, owner.tid);
}

process::FdInfo info_of(const FdOwner& owner, int fd) {
  return owner.tid == owner.pid ? process::read_fdinfo(owner.pid, fd)
                                : process::read_fdinfo(owner.pid, owner.tid, fd);
}

FileView look_at(const FdOwner& owner, int fd, process::FdInfo info) {
  FileView view;
  view.pid = owner.pid;
  view.tid = owner.tid;
  view.fd = fd;
  view.info = std::move(info);
  view.agent = owner.agent;
  view.target = owner.tid == owner.pid ? process::fd_target(owner.pid, fd)
                                       : process::fd_target(owner.pid, owner.tid, fd);
  if (::stat(view.link().c_str(), &view.status) != 0) {
    base::throw_system("process {}: cannot look at {}", owner.pid, view.describe());
  }
  return view;
}

namespace {

// Where kcmp(2) is forbidden nobody can tell. Tables are shared, but for the threads of a process,
// by hardly any program.
bool share_tables(pid_t a, pid_t b, bool otherwise) {
  try {
    return process::share_descriptors(a, b);
  } catch (const base::Error& error) {
    if (error.code() == base::ErrorCode::program_gone) throw;
    return otherwise;
  }
}

}  // namespace

std::optional<Refusal> check_table(const FdOwner& owner, std::span<const pid_t> threads,
                                   pid_t parent) {
  for (const pid_t tid : threads) {
    if (tid == owner.tid || share_tables(owner.tid, tid, true)) continue;
    if (process::list_fds(owner.pid, tid).empty()) continue;  // it has exited
    return Refusal{fmt::format("thread {} has a descriptor table of its own "
                               "(unshare(CLONE_FILES)), which cannot be saved yet",
                               tid),
                   "let the thread keep the table of its process"};
  }
  if (parent != 0 && share_tables(owner.tid, parent, false)) {
    return Refusal{fmt::format("it shares its descriptor table with process {} "
                               "(clone(CLONE_FILES)), which cannot be saved yet",
                               parent),
                   "let it have a table of its own"};
  }
  return std::nullopt;
}

}  // namespace torpor::resource
