// The restart's half of descriptors.h.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "resource/descriptors.h"
#include "resource/file_lock.h"
#include "resource/file_owner.h"

namespace torpor::resource {
namespace {

using base::Error;
using base::ErrorCode;

using Places = std::vector<DescriptorPlace>;

// Where each description is held, by id.
std::map<std::uint64_t, Places> all_places(const snapshot::Computation& model) {
  std::map<std::uint64_t, Places> places;
  for (const snapshot::Process& process : model.processes()) {
    for (const snapshot::Descriptor& descriptor : process.descriptors()) {
      places[descriptor.open_file()].push_back(
          {process.pid(), descriptor.number(), descriptor.close_on_exec()});
    }
  }
  return places;
}

std::string describe(const snapshot::OpenFile& file, const Places& places) {
  if (places.empty()) return fmt::format("a file in flight ({})", file.path());
  return fmt::format("descriptor {} of process {} ({})", places.front().fd, places.front().pid,
                     file.path());
}

[[noreturn]] void bad(const std::string& what) {
  throw Error(ErrorCode::bad_image, what, "the image is damaged: use another generation");
}

// The tables must agree before anything is made from them (I6).
void check_tables(const snapshot::Computation& model) {
  std::set<std::uint64_t> ids;
  for (const snapshot::OpenFile& file : model.open_files()) {
    if (file.id() == 0 || !ids.insert(file.id()).second) {
      bad(fmt::format("there are two open files {}", file.id()));
    }
    static_cast<void>(kind_that_made(file));
  }
  for (const snapshot::Process& process : model.processes()) {
    std::set<int> numbers;
    if (process.state() == snapshot::Process::ZOMBIE && process.descriptors_size() != 0) {
      bad(fmt::format("process {} has ended and has descriptors", process.pid()));
    }
    for (const snapshot::Descriptor& descriptor : process.descriptors()) {
      if (descriptor.number() < 0 || !numbers.insert(descriptor.number()).second) {
        bad(fmt::format("process {} has descriptor {} twice", process.pid(), descriptor.number()));
      }
      if (!ids.contains(descriptor.open_file())) {
        bad(fmt::format("descriptor {} of process {} refers to open file {}, which is not there",
                        descriptor.number(), process.pid(), descriptor.open_file()));
      }
    }
  }
}

// Every description of the computation is a descriptor of ours for a moment.
void allow_many_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

void set_position(int fd, const snapshot::OpenFile& file) {
  const auto position = static_cast<off_t>(file.position());
  if (::lseek(fd, position, SEEK_SET) != position) {
    base::throw_system("cannot set the position of {} to {}", file.path(), file.position());
  }
}

// Those that F_SETFL can change (fcntl(2)). O_ASYNC is set by the one who gets the signals.
void set_flags(int fd, const snapshot::OpenFile& file) {
  constexpr std::uint32_t kSettable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
  if ((file.flags() & O_PATH) != 0) return;
  const int now = ::fcntl(fd, F_GETFL);
  if (now < 0) base::throw_system("cannot read the flags of {}", file.path());
  const std::uint32_t wanted =
      (static_cast<std::uint32_t>(now) & ~kSettable) | (file.flags() & kSettable);
  if (wanted == static_cast<std::uint32_t>(now)) return;
  // What a file system or a user may not have was left out, with a warning, when it was opened.
  constexpr std::uint32_t kOptional = O_DIRECT | O_NOATIME;
  if (::fcntl(fd, F_SETFL, wanted) != 0 && ::fcntl(fd, F_SETFL, wanted & ~kOptional) != 0) {
    base::throw_system("cannot set the flags of {}", file.path());
  }
}

const snapshot::OpenFile& find_file(const snapshot::Computation& model, std::uint64_t id) {
  if (id != 0 && id <= static_cast<std::uint64_t>(model.open_files_size())) {
    const snapshot::OpenFile& file = model.open_files(static_cast<int>(id) - 1);
    if (file.id() == id) return file;
  }
  const auto file = std::ranges::find_if(
      model.open_files(), [id](const snapshot::OpenFile& f) { return f.id() == id; });
  if (file == model.open_files().end()) bad(fmt::format("there is no open file {}", id));
  return *file;
}

base::UniqueFd make(const snapshot::OpenFile& file, RestoreState& state) {
  const FileKind& kind = kind_that_made(file);
  base::UniqueFd fd = kind.restore(file, state);
  const bool names_only = (file.flags() & O_PATH) != 0;  // has no position, whatever it names
  if (kind.has_position() && !names_only) set_position(fd.get(), file);
  if (kind.is_ours(file, state)) {
    set_flags(fd.get(), file);
    restore_description_locks(fd.get(), file);
  }
  return fd;
}

process::HeldProcess& held_by(const RestoreState& state, pid_t pid) {
  const auto held = state.processes.find(pid);
  if (held == state.processes.end()) {
    throw Error(ErrorCode::internal, fmt::format("process {} has not been made", pid));
  }
  return *held->second;
}

void finish(const snapshot::OpenFile& file, const Places& places, RestoreState& state) {
  kind_that_made(file).finish_restore(file, state, held_by(state, places.front().pid),
                                      places.front().fd);
}

void finish_ownership(const snapshot::OpenFile& file, const Places& places, RestoreState& state) {
  if (!kind_that_made(file).is_ours(file, state)) return;
  restore_owner(held_by(state, places.front().pid), places.front().fd, file, state);
  if (file.locks().empty()) return;
  std::set<pid_t> done;
  for (const DescriptorPlace& place : places) {
    if (!done.insert(place.pid).second) continue;
    restore_process_locks(held_by(state, place.pid), place.fd, file);
  }
}

// How many sets are within each other here: an inner one is filled before those that watch it.
int depth_of(const snapshot::OpenFile& file, const snapshot::Computation& model, int limit = 8) {
  int depth = 0;
  for (const snapshot::EpollItem& item : file.epoll().items()) {
    const snapshot::OpenFile& watched = find_file(model, item.open_file());
    if (watched.has_epoll() && limit > 0) {
      depth = std::max(depth, 1 + depth_of(watched, model, limit - 1));
    }
  }
  return depth;
}

std::vector<const snapshot::OpenFile*> epoll_sets(const snapshot::Computation& model) {
  std::vector<std::pair<int, const snapshot::OpenFile*>> sets;
  for (const snapshot::OpenFile& file : model.open_files()) {
    if (file.has_epoll()) sets.emplace_back(depth_of(file, model), &file);
  }
  std::ranges::stable_sort(sets, {}, [](const auto& set) { return set.first; });
  std::vector<const snapshot::OpenFile*> ordered;
  for (const auto& [depth, set] : sets) ordered.push_back(set);
  return ordered;
}

}  // namespace

std::vector<OpenFileFinding> check_open_files(const snapshot::Computation& model,
                                              const RestoreState& state) {
  check_tables(model);
  std::vector<OpenFileFinding> findings;
  const auto places = all_places(model);
  for (const snapshot::OpenFile& file : model.open_files()) {
    const auto refusal = kind_that_made(file).check_restore(file, state);
    if (!refusal) continue;
    const auto held = places.find(file.id());
    findings.push_back({describe(file, held == places.end() ? Places{} : held->second),
                        refusal->reason, refusal->remedy});
  }
  return findings;
}

std::vector<DescriptorPlace> places_of(const snapshot::Computation& model,
                                       std::uint64_t open_file) {
  return all_places(model)[open_file];
}

int open_file_made(RestoreState& state, std::uint64_t id) {
  const auto made = state.open_files.find(id);
  if (made != state.open_files.end()) return made->second.get();
  base::UniqueFd fd = make(find_file(*state.model, id), state);
  return (state.open_files[id] = std::move(fd)).get();
}

void restore_open_files(RestoreState& state) {
  check_tables(*state.model);
  allow_many_descriptors();
  const auto places = all_places(*state.model);
  for (const snapshot::OpenFile& file : state.model->open_files()) {
    try {
      open_file_made(state, file.id());
    } catch (const Error& error) {
      const auto held = places.find(file.id());
      throw Error(
          error.code(),
          fmt::format("{}: {}", describe(file, held == places.end() ? Places{} : held->second),
                      error.what()),
          error.remedy());
    }
  }
}

void give_descriptors(RestoreState& state, process::HeldProcess& held,
                      const snapshot::Process& process) {
  std::vector<process::AgentClient::Gift> gifts;
  gifts.reserve(static_cast<std::size_t>(process.descriptors_size()));
  for (const snapshot::Descriptor& descriptor : process.descriptors()) {
    gifts.push_back({open_file_made(state, descriptor.open_file()), descriptor.number(),
                     descriptor.close_on_exec()});
  }
  if (!gifts.empty()) held.agent->give_fds(std::move(gifts));
}

// Epoll sets come when what they watch is ready or is not, and will not change any more; locks come
// last, since closing any descriptor of a file loses those of the process (fcntl(2)).
void finish_descriptors(RestoreState& state) {
  const auto places = all_places(*state.model);
  const auto for_held = [&](const snapshot::OpenFile& file, const auto& action) {
    const auto held = places.find(file.id());
    if (held != places.end()) action(file, held->second, state);
  };
  for (const snapshot::OpenFile& file : state.model->open_files()) {
    if (!file.has_epoll()) for_held(file, finish);
  }
  state.pipes.clear();  // ends that nobody has are closed now
  for (const snapshot::OpenFile* set : epoll_sets(*state.model)) for_held(*set, finish);
  for (const snapshot::OpenFile& file : state.model->open_files()) {
    for_held(file, finish_ownership);
  }
}

}  // namespace torpor::resource
