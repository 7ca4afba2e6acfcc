#include "resource/epoll_reported.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "base/page_source.h"
#include "resource/epoll_restore.h"

namespace torpor::resource {
namespace {

constexpr int kMostItems = 1024;  // of a set that we look into: their events fit in one message
constexpr std::size_t kEventPlace = 4;  // epoll_ctl(2) has four arguments: room for the event

struct OnceReported {  // an item that is ready, and would not be reported twice
  snapshot::EpollItem* item = nullptr;
  bool pending = false;
};

bool is_once(const snapshot::EpollItem& item) {
  return (item.events() & (EPOLLET | EPOLLONESHOT)) != 0 && !is_disarmed(item.events());
}

bool is_ready(const snapshot::EpollItem& item, const CaptureState& state) {
  if (item.open_file() > state.representatives.size()) return false;
  const base::UniqueFd fd = state.representatives[item.open_file() - 1].first.take();
  pollfd poll{fd.get(), static_cast<short>(item.events() & 0x7fff), 0};
  return ::poll(&poll, 1, 0) == 1;
}

// The event does not fit where the kernel wants to put it, and so stays where it is.
bool something_to_report(int set) {
  void* const closed =
      ::mmap(nullptr, base::page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (closed == MAP_FAILED) base::throw_system("cannot map memory");
  const int count = ::epoll_wait(set, static_cast<epoll_event*>(closed), 1, 0);
  ::munmap(closed, base::page_size);
  return count != 0;
}

// Signals are ready for some processes only, and not for us.
bool is_plain(const FileView& view, const snapshot::EpollItem& item, const CaptureState& state) {
  constexpr std::uint32_t kSpecial = EPOLLEXCLUSIVE | EPOLLWAKEUP;  // cannot be modified
  const auto there = state.open_file_of.find({view.pid, item.fd()});
  return (item.events() & kSpecial) == 0 && there != state.open_file_of.end() &&
         there->second == item.open_file();
}

class Look {
 public:
  Look(const FileView& view, std::vector<OnceReported>& once) : view_(view), once_(once) {}

  void run(int items) {
    prepare_undo();
    process::Batch batch(*view_.agent);
    const base::RemotePtr room = batch.space(static_cast<std::size_t>(items) * sizeof(epoll_event));
    const std::size_t waited =
        batch.call(SYS_epoll_wait, {view_.fd, room, items, 0}, "look into an epoll set");
    batch.run_and_fetch();
    for (std::int64_t i = 0; i < batch.result(waited); ++i) {
      note(batch.fetched_value<epoll_event>(room +
                                            static_cast<std::uint64_t>(i) * sizeof(epoll_event)));
    }
    arm_again();
  }

 private:
  void note(const epoll_event& event) {
    for (OnceReported& one : once_) {
      if (one.item->data() == event.data.u64) one.pending = true;
    }
  }

  static epoll_event event_of(const snapshot::EpollItem& item) {
    epoll_event event{};
    event.events = item.events();
    event.data.u64 = item.data();
    return event;
  }

  // The event lies in the call itself, where it still is when the message is long overwritten.
  agent::Call modification(std::size_t index) const {
    const snapshot::EpollItem& item = *once_[index].item;
    agent::Call call{};
    call.number = SYS_epoll_ctl;
    call.may_fail = 1;
    call.args[0] = static_cast<std::uint64_t>(view_.fd);
    call.args[1] = EPOLL_CTL_MOD;
    call.args[2] = static_cast<std::uint64_t>(item.fd());
    call.args[3] =
        (view_.agent->context() + offsetof(agent::Context, undo) + index * sizeof(agent::Call) +
         offsetof(agent::Call, args) + kEventPlace * sizeof(std::uint64_t))
            .address();
    const epoll_event event = event_of(item);
    static_assert(sizeof(event) <= (6 - kEventPlace) * sizeof(std::uint64_t));
    std::memcpy(&call.args[kEventPlace], &event, sizeof(event));
    return call;
  }

  void prepare_undo() {
    std::vector<agent::Call> calls;
    for (std::size_t i = 0; i < once_.size(); ++i) calls.push_back(modification(i));
    process::Batch batch(*view_.agent);
    const base::RemotePtr place = batch.data(std::as_bytes(std::span(calls)));
    batch.call(agent::kSetUndo, {place, calls.size()}, "prepare for being killed");
    batch.run();
  }

  void arm_again() {
    process::Batch batch(*view_.agent);
    for (const OnceReported& one : once_) {
      if (!one.pending) continue;
      batch.call(SYS_epoll_ctl,
                 {view_.fd, EPOLL_CTL_MOD, one.item->fd(), batch.value(event_of(*one.item))},
                 fmt::format("watch descriptor {} again", one.item->fd()));
    }
    batch.call(agent::kSetUndo, {0, 0}, "forget what was prepared");
    batch.run();
  }

  const FileView& view_;
  std::vector<OnceReported>& once_;
};

// Every event has to tell whose it is.
bool distinct(const snapshot::Epoll& set, const std::vector<OnceReported>& once) {
  std::map<std::uint64_t, int> uses;
  for (const snapshot::EpollItem& item : set.items()) ++uses[item.data()];
  return std::ranges::all_of(once,
                             [&](const OnceReported& o) { return uses[o.item->data()] == 1; });
}

bool watches_signals(const snapshot::Epoll& set, const CaptureState& state) {
  return std::ranges::any_of(set.items(), [&](const snapshot::EpollItem& item) {
    const auto& file = state.model->open_files(static_cast<int>(item.open_file()) - 1);
    return is_once(item) && file.has_signal();
  });
}

}  // namespace

void find_reported(const FileView& view, CaptureState& state, snapshot::OpenFile& file) {
  snapshot::Epoll& set = *file.mutable_epoll();
  std::vector<OnceReported> once;
  for (snapshot::EpollItem& item : *set.mutable_items()) {
    if (is_once(item) && is_ready(item, state)) once.push_back({&item});
  }
  if (once.empty()) return;
  if (something_to_report(view.take().get())) {
    const bool plain = std::ranges::all_of(
        once, [&](const OnceReported& o) { return is_plain(view, *o.item, state); });
    if (!plain || view.agent == nullptr || once.size() > agent::kMaxUndo ||
        set.items_size() > kMostItems || !distinct(set, once) || watches_signals(set, state)) {
      return;
    }
    Look(view, once).run(set.items_size());
  }
  for (const OnceReported& one : once) {
    if ((one.item->events() & EPOLLONESHOT) == 0) one.item->set_reported(!one.pending);
  }
}

}  // namespace torpor::resource
