#include "resource/descriptors.h"

#include <algorithm>

#include "base/error.h"
#include "resource/description_table.h"
#include "resource/descriptor_scan.h"
#include "resource/file_lock.h"
#include "resource/standard_stream.h"

namespace torpor::resource {
namespace {

using base::Error;
using base::ErrorCode;

bool has_vanished(const Error& error) {
  return error.code() == ErrorCode::program_gone || error.code() == ErrorCode::not_found ||
         error.code() == ErrorCode::io;
}

// Nothing is stopped: what vanishes while we look is passed over.
class DryPass {
 public:
  explicit DryPass(CaptureState& state) : state_(state) {}

  void look(pid_t pid) {
    if (root_ == 0) root_ = pid;
    passing_over_what_vanishes([&] {
      const FdOwner owner = owner_of(pid);
      for (const int fd : descriptors_of(owner)) {
        passing_over_what_vanishes([&] { look(owner, fd); });
      }
    });
  }

  std::vector<DescriptorFinding> findings() {
    if (state_.outside.empty()) find_outside();
    for (const FileView& view : views_) {
      passing_over_what_vanishes([&] { check(view); });
    }
    return std::move(findings_);
  }

 private:
  template <typename Action>
  static void passing_over_what_vanishes(const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      if (!has_vanished(error)) throw;
    }
  }

  void look(const FdOwner& owner, int fd) {
    FileView view = look_at(owner, fd, info_of(owner, fd));
    state_.holders.push_back(
        {owner.pid, fd, view.status.st_dev, view.status.st_ino, view.info.flags});
    if (is_known(owner, fd)) return;
    table_.remember({owner.pid, owner.tid, fd, nullptr}, views_.size() + 1);
    views_.push_back(std::move(view));
  }

  // An inherited descriptor need not be checked twice. What it is compared with may be closed now.
  bool is_known(const FdOwner& owner, int fd) {
    try {
      return table_.same_as_last({owner.pid, owner.tid, fd, nullptr}) != 0;
    } catch (const Error&) {
      return false;
    }
  }

  void check(const FileView& view) {
    std::optional<Refusal> refusal = kind_of(view, state_).check(view, state_);
    if (!refusal) refusal = check_locks(view.info);
    if (refusal) {
      findings_.push_back(
          {view.pid, view.fd, view.describe(), refusal->reason, refusal->remedy, refusal->certain});
    }
  }

  void find_outside() {
    std::vector<FileView> streams;
    for (const FileView& view : views_) {
      if (view.pid == root_ && view.fd <= 2) streams.push_back(view);
    }
    state_.outside = streams_that_lead_outside(streams, state_);
  }

  CaptureState& state_;
  DescriptionTable table_;
  pid_t root_ = 0;
  std::vector<FileView> views_;
  std::vector<DescriptorFinding> findings_;
};

}  // namespace

std::vector<DescriptorFinding> check_descriptors(std::span<const pid_t> pids, CaptureState& state) {
  DryPass pass(state);
  for (const pid_t pid : pids) pass.look(pid);
  return pass.findings();
}

}  // namespace torpor::resource
