#include "resource/epoll_restore.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <set>

#include "base/error.h"
#include "process/proc_fdinfo.h"
#include "resource/file_kind.h"
#include "resource/private_descriptors.h"

namespace torpor::resource {
namespace {

// The kernel adds these to all items; only reporting a one-shot item takes them away.
constexpr std::uint32_t kAlwaysWatched = EPOLLERR | EPOLLHUP;
constexpr std::uint32_t kModes = EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE;
constexpr std::uint32_t kEverything = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP;

epoll_event event_of(const snapshot::EpollItem& item) {
  epoll_event event{};
  event.events = item.events();
  event.data.u64 = item.data();
  return event;
}

// Invalid if `fd` is free.
base::UniqueFd duplicate(int fd, int lowest) {
  base::UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, lowest));
  if (!copy && errno != EBADF) base::throw_system("cannot duplicate a descriptor");
  return copy;
}

int beyond(std::span<const WatchedItem> items) {
  int number = 0;
  for (const WatchedItem& watched : items) number = std::max(number, watched.item.fd() + 1);
  return number;
}

// The items of a set, worked on in a descriptor table where every number is free to use for a
// moment. Only the set itself has to be out of their way.
class ItemTable {
 public:
  ItemTable(int epoll_fd, std::span<const WatchedItem> items)
      : items_(items), epoll_(duplicate(epoll_fd, beyond(items))) {}

  void control(std::size_t index, int operation, std::uint32_t events) {
    const int number = items_[index].item.fd();
    const base::UniqueFd occupant = duplicate(number, 0);
    epoll_event event = event_of(items_[index].item);
    event.events = events;
    if (::dup2(items_[index].target, number) < 0 ||
        ::epoll_ctl(epoll_.get(), operation, number, &event) != 0) {
      base::throw_system("cannot watch descriptor {} in an epoll set", number);
    }
    if (occupant) ::dup2(occupant.get(), number);
  }

  // A disarmed item as it is, but armed for all that could be ready now.
  void add_to_be_reported(std::size_t index) {
    control(index, EPOLL_CTL_ADD, items_[index].item.events() | kEverything);
  }

  // Takes the reports of the items of add_to_be_reported(), each of which comes once.
  void let_report() {
    std::array<epoll_event, 256> events{};
    int count = 0;
    do {
      count = ::epoll_wait(epoll_.get(), events.data(), events.size(), 0);
    } while (count > 0 || (count < 0 && errno == EINTR));
    if (count < 0) base::throw_system("cannot disarm items of an epoll set");
  }

  // Puts those to sleep as far as possible that had nothing to report.
  std::vector<int> silence(std::span<const std::size_t> indices) {
    std::vector<int> numbers;
    if (indices.empty()) return numbers;
    const auto now = process::read_fdinfo(::getpid(), ::gettid(), epoll_.get()).epoll;
    for (const std::size_t index : indices) {
      const snapshot::EpollItem& item = items_[index].item;
      const bool armed = std::any_of(now.begin(), now.end(), [&](const process::EpollItem& entry) {
        return entry.tfd == item.fd() && entry.data == item.data() && !is_disarmed(entry.events);
      });
      if (!armed) continue;
      control(index, EPOLL_CTL_MOD, item.events());
      numbers.push_back(item.fd());
    }
    return numbers;
  }

 private:
  std::span<const WatchedItem> items_;
  base::UniqueFd epoll_;
};

// Those that have reported first: while they do so again nothing else is in the set that could.
std::vector<int> add_all(ItemTable& table, std::span<const WatchedItem> items) {
  std::vector<std::size_t> disarmed;
  bool any_reported = false;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (is_disarmed(items[i].item.events())) {
      disarmed.push_back(i);
      table.add_to_be_reported(i);
    } else if (items[i].item.reported()) {
      any_reported = true;
      table.control(i, EPOLL_CTL_ADD, items[i].item.events());
    }
  }
  if (any_reported || !disarmed.empty()) table.let_report();
  const std::vector<int> not_quite = table.silence(disarmed);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const snapshot::EpollItem& item = items[i].item;
    if (!is_disarmed(item.events()) && !item.reported()) {
      table.control(i, EPOLL_CTL_ADD, item.events());
    }
  }
  return not_quite;
}

bool has_locks(const snapshot::Computation& model, std::uint64_t id) {
  const auto& files = model.open_files();
  return std::any_of(files.begin(), files.end(), [id](const snapshot::OpenFile& file) {
    return file.id() == id && file.locks_size() != 0;
  });
}

std::set<std::uint64_t> signal_fds(const snapshot::Computation& model) {
  std::set<std::uint64_t> ids;
  for (const snapshot::OpenFile& file : model.open_files()) {
    if (file.has_signal()) ids.insert(file.id());
  }
  return ids;
}

int own_descriptor(const RestoreState& state, std::uint64_t id) {
  const auto found = state.open_files.find(id);
  if (found == state.open_files.end() || !found->second) {
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("an epoll set refers to open file {}, which there is not", id));
  }
  return found->second.get();
}

// The open file at descriptor `number` of the process, 0 if it is free.
std::uint64_t occupant(const snapshot::Computation& model, pid_t seen_pid, int number) {
  for (const snapshot::Process& process : model.processes()) {
    if (process.pid() != seen_pid) continue;
    for (const snapshot::Descriptor& descriptor : process.descriptors()) {
      if (descriptor.number() == number) return descriptor.open_file();
    }
  }
  return 0;
}

// The calls that put `target` (a descriptor of the process) at `number` while `inner` is made, and
// then what was there before. The inner call may fail, the rest is made all the same.
std::size_t at_number(process::Batch& batch, int target, int number, bool taken,
                      const std::function<std::size_t()>& inner) {
  std::size_t flags = 0;
  std::size_t saved = 0;
  if (taken) {
    flags = batch.call(SYS_fcntl, {number, F_GETFD}, fmt::format("look at descriptor {}", number));
    saved = batch.call(SYS_fcntl, {number, F_DUPFD_CLOEXEC, 0},
                       fmt::format("save descriptor {}", number));
  }
  batch.call(SYS_dup3, {target, number, O_CLOEXEC}, fmt::format("use descriptor {}", number));
  const std::size_t result = inner();
  if (taken) {
    batch.try_call(SYS_dup3, {process::ResultOf{saved}, number, O_CLOEXEC});
    batch.try_call(SYS_fcntl, {number, F_SETFD, process::ResultOf{flags}});
    batch.try_call(SYS_close, {process::ResultOf{saved}});
  } else {
    batch.try_call(SYS_close, {number});
  }
  return result;
}

bool is_taken(process::AgentClient& agent, int number) {
  process::Batch batch(agent);
  batch.try_call(SYS_fcntl, {number, F_GETFD});
  batch.run();
  return batch.result(0) >= 0;
}

// Adds an item from inside the process, where the set is descriptor `set`. POSIX locks of a file
// that must make room for a moment would be lost (fcntl(2)), so that is refused.
void add_inside(const snapshot::EpollItem& item, const RestoreState& state,
                process::HeldProcess& holder, int set) {
  process::AgentClient& agent = *holder.agent;
  const auto add = [&](process::Batch& batch) {
    const auto event = event_of(item);
    return batch.try_call(SYS_epoll_ctl, {set, EPOLL_CTL_ADD, item.fd(), batch.value(event)});
  };
  const std::uint64_t there = occupant(*state.model, holder.seen_pid, item.fd());
  const bool in_place = there == item.open_file();
  if (!in_place && has_locks(*state.model, there)) {
    throw base::Error(base::ErrorCode::refused,
                      fmt::format("process {}: a locked file is open at descriptor {}, under which "
                                  "a signalfd was added to an epoll set",
                                  holder.seen_pid, item.fd()));
  }
  const int target =
      in_place ? item.fd() : agent.give_fd_anywhere(own_descriptor(state, item.open_file()));
  const bool taken = !in_place && target != item.fd() && is_taken(agent, item.fd());
  process::Batch batch(agent);
  const std::size_t added =
      in_place || target == item.fd()
          ? add(batch)
          : at_number(batch, target, item.fd(), taken, [&] { return add(batch); });
  if (!in_place) batch.try_call(SYS_close, {target});
  batch.run();
  if (const std::int64_t result = batch.result(added); result < 0) {
    base::throw_errno(static_cast<int>(-result),
                      fmt::format("process {}: cannot watch the signalfd {} in an epoll set",
                                  holder.seen_pid, item.fd()));
  }
}

}  // namespace

bool is_disarmed(std::uint32_t events) { return (events & ~kModes) == 0; }

std::vector<int> add_items(int epoll_fd, std::span<const WatchedItem> items) {
  std::vector<int> not_quite;
  with_private_descriptors([&] {
    ItemTable table(epoll_fd, items);
    not_quite = add_all(table, items);
  });
  return not_quite;
}

void fill_epoll_set(const snapshot::OpenFile& file, RestoreState& state,
                    process::HeldProcess& holder, int fd) {
  std::vector<WatchedItem> items;
  std::vector<snapshot::EpollItem> signals;
  const std::set<std::uint64_t> added_inside = signal_fds(*state.model);
  for (const snapshot::EpollItem& item : file.epoll().items()) {
    if (added_inside.contains(item.open_file())) {
      signals.push_back(item);
    } else {
      items.push_back({item, own_descriptor(state, item.open_file())});
    }
  }
  for (const int number : add_items(own_descriptor(state, file.id()), items)) {
    state.warnings.push_back(fmt::format(
        "process {}, epoll set {}: descriptor {} was disarmed (EPOLLONESHOT); an error or hang-up "
        "of it will be reported all the same",
        holder.seen_pid, fd, number));
  }
  for (const snapshot::EpollItem& item : signals) add_inside(item, state, holder, fd);
}

}  // namespace torpor::resource
