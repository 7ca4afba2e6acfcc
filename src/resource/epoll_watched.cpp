#include "resource/epoll_watched.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "base/error.h"
#include "process/kcmp.h"
#include "resource/file_kind.h"
#include "resource/private_descriptors.h"

namespace torpor::resource {
namespace {

using process::EpollItem;

// The kernel counts the items of one number in the order in which it lists them.
unsigned offset_of(const std::vector<EpollItem>& items, std::size_t index) {
  return static_cast<unsigned>(
      std::count_if(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(index),
                    [&](const EpollItem& other) { return other.tfd == items[index].tfd; }));
}

// ---- by kcmp

std::optional<Holder> find_by_kcmp(const FileView& view, std::size_t index,
                                   std::span<const Holder> holders) {
  const EpollItem& item = view.info.epoll[index];
  const unsigned offset = offset_of(view.info.epoll, index);
  const pid_t tid = view.tid != 0 ? view.tid : view.pid;
  const auto is_target = [&](const Holder& holder) {
    const pid_t holder_tid = holder.pid == view.pid ? tid : holder.pid;
    return process::is_epoll_target(holder_tid, holder.fd, tid, view.fd, item.tfd, offset);
  };
  // Nearly always it is still where it was when it was added.
  const Holder original{.pid = view.pid, .fd = item.tfd, .inode = item.ino};
  if (is_target(original)) return original;
  const auto found = std::find_if(holders.begin(), holders.end(), [&](const Holder& holder) {
    return holder.inode == item.ino && is_target(holder);
  });
  if (found == holders.end()) return std::nullopt;
  return *found;
}

// ---- without

// The original first.
std::vector<Holder> candidates_of(const FileView& view, const EpollItem& item,
                                  std::span<const Holder> holders) {
  std::vector<Holder> candidates;
  for (const Holder& holder : holders) {
    if (holder.inode != item.ino || kernel_device(holder.device) != item.sdev) continue;
    const bool original = holder.pid == view.pid && holder.fd == item.tfd;
    candidates.insert(original ? candidates.begin() : candidates.end(), holder);
  }
  return candidates;
}

base::UniqueFd take(const Holder& holder, const CaptureState& state) {
  FileView view;
  view.pid = holder.pid;
  view.fd = holder.fd;
  const auto held = state.processes.find(holder.pid);
  if (held != state.processes.end()) view.agent = held->second->agent;
  return view.take();
}

// Asks the set whether it watches `target` under `number`, at which it stands for a moment.
bool is_watched_there(int set, int target, int number) {
  const base::UniqueFd own_set(::fcntl(set, F_DUPFD_CLOEXEC, number + 1));
  if (!own_set || ::dup2(target, number) < 0) base::throw_system("cannot ask an epoll set");
  epoll_event nothing{};
  nothing.events = EPOLLET | EPOLLONESHOT;
  if (::epoll_ctl(own_set.get(), EPOLL_CTL_ADD, number, &nothing) == 0) {
    ::epoll_ctl(own_set.get(), EPOLL_CTL_DEL, number, nullptr);
    return false;
  }
  return errno == EEXIST;
}

bool is_watched(const FileView& view, const EpollItem& item, const Holder& candidate,
                const CaptureState& state) {
  const base::UniqueFd set = view.take();
  const base::UniqueFd target = take(candidate, state);
  bool watched = false;
  with_private_descriptors([&] { watched = is_watched_there(set.get(), target.get(), item.tfd); });
  return watched;
}

std::optional<Holder> find_by_asking(const FileView& view, std::size_t index,
                                     const CaptureState& state) {
  const EpollItem& item = view.info.epoll[index];
  for (const Holder& candidate : candidates_of(view, item, state.holders)) {
    if (is_watched(view, item, candidate, state)) return candidate;
  }
  return std::nullopt;
}

}  // namespace

std::uint32_t kernel_device(dev_t device) { return ::major(device) << 20 | ::minor(device); }

std::optional<Holder> find_watched(const FileView& view, std::size_t index,
                                   const CaptureState& state) {
  return state.kcmp ? find_by_kcmp(view, index, state.holders) : find_by_asking(view, index, state);
}

bool seems_to_be_held(const FileView& view, std::size_t index, const CaptureState& state) {
  if (state.kcmp) return find_by_kcmp(view, index, state.holders).has_value();
  return !candidates_of(view, view.info.epoll[index], state.holders).empty();
}

}  // namespace torpor::resource
