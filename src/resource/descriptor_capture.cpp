// The checkpoint's half of descriptors.h: everything is stopped.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "resource/description_table.h"
#include "resource/descriptor_scan.h"
#include "resource/descriptors.h"
#include "resource/file_lock.h"
#include "resource/file_owner.h"
#include "resource/standard_stream.h"

namespace torpor::resource {
namespace {

using base::Error;
using base::ErrorCode;

// Enters a new description into the model and the tables. Its kind's part comes later.
std::uint64_t add_description(FileView view, CaptureState& state) {
  snapshot::OpenFile& file = *state.model->add_open_files();
  const auto id = static_cast<std::uint64_t>(state.model->open_files_size());
  file.set_id(id);
  file.set_flags(view.info.flags & ~static_cast<std::uint32_t>(O_CLOEXEC));
  file.set_position(static_cast<std::uint64_t>(view.info.pos));
  file.set_path(view.target);
  state.descriptions->add({view.pid, view.tid, view.fd, view.agent},
                          {view.status.st_dev, view.status.st_ino}, id);
  state.representatives.emplace_back(std::move(view), id);
  return id;
}

class Capture {
 public:
  explicit Capture(CaptureState& state) : state_(state) {
    if (!state_.descriptions) state_.descriptions = std::make_shared<DescriptionTable>(state_.kcmp);
    for (snapshot::Process& process : *state_.model->mutable_processes()) {
      by_seen_pid_[process.pid()] = &process;
    }
  }

  void look(const process::HeldProcess& held) {
    if (held.zombie) return;
    const auto process = by_seen_pid_.find(held.seen_pid);
    if (process == by_seen_pid_.end()) {
      throw Error(ErrorCode::internal, fmt::format("process {} is not in the model", held.pid));
    }
    const FdOwner owner = owner_of(held);
    for (const int fd : descriptors_of(owner)) look(owner, fd, *process->second);
    look_at_table(held, owner, *process->second);
  }

  void find_outside(pid_t root) {
    std::vector<FileView> streams;
    for (const auto& [view, id] : state_.representatives) {
      if (view.pid == root && view.fd <= 2) streams.push_back(view);
    }
    state_.outside = streams_that_lead_outside(streams, state_);
  }

  // The list grows while sockets with descriptors in flight are captured.
  void capture() {
    check_all();
    for (std::size_t i = 0; i < state_.representatives.size(); ++i) {
      const auto& [view, id] = state_.representatives[i];
      if (i >= checked_) check(view);
      throw_refusals();
      kinds_.push_back(&kind_of(view, state_));
      kinds_.back()->capture(view, state_, file(id));
    }
    for (std::size_t i = 0; i < state_.representatives.size(); ++i) {
      const auto& [view, id] = state_.representatives[i];
      kinds_.at(i)->finish_capture(view, state_, file(id));
    }
    capture_locks(locks_, state_);
    capture_owners(state_);
  }

 private:
  snapshot::OpenFile& file(std::uint64_t id) {
    return *state_.model->mutable_open_files(static_cast<int>(id) - 1);
  }

  void look(const FdOwner& owner, int fd, snapshot::Process& process) {
    process::FdInfo info = info_of(owner, fd);
    const std::uint32_t flags = info.flags;
    const std::vector<std::string> locks = info.locks;
    const std::uint64_t id = identify(owner, fd, std::move(info));
    const FileView& known = state_.representatives[id - 1].first;
    state_.descriptions->remember({owner.pid, owner.tid, fd, owner.agent}, id);
    state_.open_file_of[{owner.pid, fd}] = id;
    state_.holders.push_back({owner.pid, fd, known.status.st_dev, known.status.st_ino, flags});
    for (const std::string& line : locks) locks_.push_back({owner.pid, id, line});
    snapshot::Descriptor& descriptor = *process.add_descriptors();
    descriptor.set_number(fd);
    descriptor.set_close_on_exec((flags & O_CLOEXEC) != 0);
    descriptor.set_open_file(id);
  }

  std::uint64_t identify(const FdOwner& owner, int fd, process::FdInfo info) {
    if (const auto id = state_.descriptions->same_as_last({owner.pid, owner.tid, fd, owner.agent}))
      return id;
    FileView view = look_at(owner, fd, std::move(info));
    const auto id = state_.descriptions->find({owner.pid, owner.tid, fd, owner.agent},
                                              {view.status.st_dev, view.status.st_ino});
    return id != 0 ? id : add_description(std::move(view), state_);
  }

  void look_at_table(const process::HeldProcess& held, const FdOwner& owner,
                     const snapshot::Process& process) {
    std::vector<pid_t> threads;
    for (const process::StoppedThread* thread : held.threads) threads.push_back(thread->tid());
    const auto parent = host_pid_.find(process.parent());
    const auto refusal =
        check_table(owner, threads, parent == host_pid_.end() ? 0 : parent->second);
    host_pid_[held.seen_pid] = owner.tid;
    if (refusal) refuse(held.pid, "the descriptor table", *refusal);
  }

  void check_all() {
    for (; checked_ < state_.representatives.size(); ++checked_) {
      check(state_.representatives[checked_].first);
    }
    throw_refusals();
  }

  void check(const FileView& view) {
    std::optional<Refusal> refusal = kind_of(view, state_).check(view, state_);
    if (!refusal) refusal = check_locks(view.info);
    if (refusal) refuse(view.pid, view.describe(), *refusal);
  }

  void refuse(pid_t pid, const std::string& what, const Refusal& refusal) {
    if (refusals_.empty()) remedy_ = refusal.remedy;
    refusals_.push_back(fmt::format("process {}: {}: {}", pid, what, refusal.reason));
  }

  void throw_refusals() const {
    if (refusals_.empty()) return;
    throw Error(ErrorCode::refused, fmt::format("{}", fmt::join(refusals_, "\n")), remedy_);
  }

  CaptureState& state_;
  std::map<pid_t, snapshot::Process*> by_seen_pid_;
  std::map<pid_t, pid_t> host_pid_;  // a thread to compare tables with, by seen pid
  std::vector<FoundLock> locks_;
  std::vector<const FileKind*> kinds_;
  std::size_t checked_ = 0;
  std::vector<std::string> refusals_;
  std::string remedy_;
};

}  // namespace

std::uint64_t CaptureState::identify(int own_fd) {
  base::UniqueFd copy(::fcntl(own_fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) base::throw_system("cannot duplicate descriptor {}", own_fd);
  const FdOwner self{::getpid(), ::getpid(), nullptr};
  FileView view = look_at(self, copy.get(), info_of(self, copy.get()));
  const DescriptionTable::File file{view.status.st_dev, view.status.st_ino};
  if (const auto id = descriptions->find({self.pid, self.tid, copy.get(), nullptr}, file))
    return id;
  holders.push_back({self.pid, copy.get(), file.first, file.second, view.info.flags});
  descriptions->keep(std::move(copy));
  return add_description(std::move(view), *this);
}

void capture_descriptors(std::span<process::HeldProcess* const> processes, CaptureState& state) {
  Capture capture(state);
  for (const process::HeldProcess* held : processes) capture.look(*held);
  if (state.outside.empty() && !processes.empty()) capture.find_outside(processes.front()->pid);
  capture.capture();
}

}  // namespace torpor::resource
