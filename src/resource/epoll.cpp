#include "resource/epoll.h"

#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "resource/epoll_reported.h"
#include "resource/epoll_restore.h"
#include "resource/epoll_watched.h"
#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

using process::EpollItem;

// Sockets by device and inode. Unlike a pipe's, a socket's inode has one description only, so that
// no comparison is needed: kcmp(2) walks the set from its start for each, and sets of thousands of
// connections are common.
using Sockets = std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint64_t>;

Sockets sockets_of(const CaptureState& state) {
  Sockets sockets;
  for (const auto& [view, id] : state.representatives) {
    if (S_ISSOCK(view.status.st_mode)) {
      sockets[{kernel_device(view.status.st_dev), view.status.st_ino}] = id;
    }
  }
  return sockets;
}

Refusal lost_target(const EpollItem& item) {
  return {fmt::format("the epoll set watches a file, added as descriptor {}, that no process of "
                      "the computation has open any more",
                      item.tfd),
          "it is held by a process outside or is in flight in a socket; close it there, or take it "
          "out of the set before closing it"};
}

// Items are put back by one who holds the set.
std::optional<Refusal> check_in_flight(const FileView& view, const CaptureState& state) {
  if (state.processes.contains(view.pid) || view.info.epoll.empty()) return std::nullopt;
  return Refusal{
      "an epoll set that no process has open, since it is in flight in a socket, cannot "
      "be saved yet",
      "take the checkpoint when it has been received"};
}

std::uint64_t watched_file(const FileView& view, std::size_t index, const CaptureState& state,
                           const Sockets& sockets) {
  const EpollItem& item = view.info.epoll[index];
  const auto socket = sockets.find({item.sdev, item.ino});
  if (socket != sockets.end()) return socket->second;
  const auto holder = find_watched(view, index, state);
  if (!holder) return 0;
  const auto found = state.open_file_of.find({holder->pid, holder->fd});
  return found == state.open_file_of.end() ? 0 : found->second;
}

// Without kcmp(2) one of several files that were added under the same number is as good as the
// other.
void refuse_mistakable_items(const FileView& view, const snapshot::Epoll& set) {
  std::set<std::pair<std::int32_t, std::uint64_t>> seen;
  for (const snapshot::EpollItem& item : set.items()) {
    if (seen.emplace(item.fd(), item.open_file()).second) continue;
    throw base::Error(
        base::ErrorCode::refused,
        fmt::format(
            "process {}, descriptor {}: the epoll set watches several files that were added "
            "as descriptor {}, which cannot be told apart as this host refuses kcmp(2)",
            view.pid, view.fd, item.fd()),
        "allow kcmp in the container's seccomp profile (CAP_SYS_PTRACE does it)");
  }
}

class EpollKind final : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "epoll set"; }

  // By name: an empty set has no lines in fdinfo.
  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return view.target == "anon_inode:[eventpoll]";
  }

  // When everything is stopped the same is asked by finish_capture(), which knows more.
  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState& state) const override {
    if (!state.processes.empty()) return check_in_flight(view, state);
    const auto& items = view.info.epoll;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (seems_to_be_held(view, i, state)) continue;
      Refusal refusal = lost_target(items[i]);
      refusal.certain = false;
      return refusal;
    }
    return std::nullopt;
  }

  void capture(const FileView& view, CaptureState&, snapshot::OpenFile& file) const override {
    snapshot::Epoll& record = *file.mutable_epoll();
    for (const EpollItem& item : view.info.epoll) {
      snapshot::EpollItem& added = *record.add_items();
      added.set_fd(item.tfd);
      added.set_events(item.events);
      added.set_data(item.data);
    }
  }

  void finish_capture(const FileView& view, CaptureState& state,
                      snapshot::OpenFile& file) const override {
    const Sockets sockets = sockets_of(state);
    for (std::size_t i = 0; i < view.info.epoll.size(); ++i) {
      const std::uint64_t id = watched_file(view, i, state, sockets);
      if (id == 0) {
        const Refusal refusal = lost_target(view.info.epoll[i]);
        throw base::Error(
            base::ErrorCode::refused,
            fmt::format("process {}, descriptor {}: {}", view.pid, view.fd, refusal.reason),
            refusal.remedy);
      }
      file.mutable_epoll()->mutable_items(static_cast<int>(i))->set_open_file(id);
    }
    if (!state.kcmp) refuse_mistakable_items(view, file.epoll());
    find_reported(view, state, file);
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_epoll();
  }

  base::UniqueFd restore(const snapshot::OpenFile&, RestoreState&) const override {
    base::UniqueFd fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!fd) base::throw_system("cannot make an epoll set");
    return fd;
  }

  void finish_restore(const snapshot::OpenFile& file, RestoreState& state,
                      process::HeldProcess& holder, int fd) const override {
    fill_epoll_set(file, state, holder, fd);
  }
};

}  // namespace

std::unique_ptr<FileKind> make_epoll_kind() { return std::make_unique<EpollKind>(); }

}  // namespace torpor::resource
