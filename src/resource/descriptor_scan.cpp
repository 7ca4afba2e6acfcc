#include "resource/descriptor_scan.h"

#include "base/error.h"
#include "process/kcmp.h"
#include "process/proc_file.h"
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

using Entries = std::vector<std::pair<int, std::string>>;

Entries entries_of(const FdOwner& owner) {
  Entries entries;
  for (const int fd : descriptors_of(owner)) {
    FileView view;
    view.pid = owner.pid;
    view.tid = owner.tid;
    view.fd = fd;
    entries.emplace_back(fd, process::read_link(view.link()));
  }
  return entries;
}

// Where kcmp(2) is refused: everything is stopped, so tables that do not look the same are not.
// Those that do have been warned of (check_sharing.cpp).
bool thread_shares_table(const FdOwner& owner, pid_t tid) {
  if (process::is_kcmp_allowed()) return process::share_descriptors(owner.tid, tid);
  return entries_of(owner) == entries_of({owner.pid, tid, nullptr});
}

bool process_shares_table(const FdOwner& owner, pid_t parent) {
  return process::is_kcmp_allowed() && process::share_descriptors(owner.tid, parent);
}

}  // namespace

std::optional<Refusal> check_table(const FdOwner& owner, std::span<const pid_t> threads,
                                   pid_t parent) {
  for (const pid_t tid : threads) {
    if (tid == owner.tid || thread_shares_table(owner, tid)) continue;
    if (process::list_fds(owner.pid, tid).empty()) continue;  // it has exited
    return Refusal{fmt::format("thread {} has a descriptor table of its own "
                               "(unshare(CLONE_FILES)), which cannot be saved yet",
                               tid),
                   "let the thread keep the table of its process"};
  }
  if (parent != 0 && process_shares_table(owner, parent)) {
    return Refusal{fmt::format("it shares its descriptor table with process {} "
                               "(clone(CLONE_FILES)), which cannot be saved yet",
                               parent),
                   "let it have a table of its own"};
  }
  return std::nullopt;
}

}  // namespace torpor::resource
