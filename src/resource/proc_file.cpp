#include "resource/proc_file.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <set>

#include "base/error.h"
#include "process/proc_status.h"
#include "resource/descriptors.h"
#include "resource/file_path.h"

namespace torpor::resource {
namespace {

constexpr std::string_view kProc = "/proc/";

// The number that a process of ours has in the program's own /proc.
pid_t seen_pid(pid_t pid, const CaptureState& state) {
  const auto held = state.processes.find(pid);
  if (held != state.processes.end()) return held->second->seen_pid;
  const process::Status status = process::read_status(pid);
  return status.nstgid.empty() ? pid : status.nstgid.back();
}

bool is_inside(pid_t seen, const CaptureState& state) {
  std::set<pid_t> pids;
  for (const Holder& holder : state.holders) {
    if (holder.pid != ::getpid()) pids.insert(holder.pid);
  }
  return std::ranges::any_of(pids, [&](pid_t pid) { return seen_pid(pid, state) == seen; });
}

// In a namespace of its own the husk must see its own /proc, or it would open that of a stranger.
void require_own_proc(process::HeldProcess& holder, const std::string& path) {
  process::Batch batch(*holder.agent);
  const base::RemotePtr name = batch.space(32);
  const std::size_t call = batch.try_call(SYS_readlink, {batch.text("/proc/self"), name, 31});
  batch.run_and_fetch();
  const std::int64_t length = std::max<std::int64_t>(batch.result(call), 0);
  const auto bytes = batch.fetched(name, static_cast<std::size_t>(length));
  const std::string_view number(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (number == std::to_string(holder.seen_pid)) return;
  throw base::Error(
      base::ErrorCode::host_lacks,
      fmt::format("{} was open, and the restarted program has no /proc of its own to "
                  "open it in",
                  path),
      "restart where /proc may be mounted in a namespace, or with the original ids on "
      "the host");
}

base::UniqueFd open_inside(process::HeldProcess& holder, const snapshot::OpenFile& file) {
  require_own_proc(holder, file.path());
  process::Batch batch(*holder.agent);
  const std::size_t call =
      batch.call(SYS_openat, {AT_FDCWD, batch.text(file.path()), reopening_flags(file), 0},
                 fmt::format("open {}", file.path()));
  batch.run();
  const auto there = static_cast<int>(batch.result(call));
  base::UniqueFd fd = holder.agent->take_fd(there);
  holder.agent->call(SYS_close, {there}, "close a descriptor");
  return fd;
}

// Their content is made when it is read, so another place than the old one may have no meaning.
void set_position(int fd, const snapshot::OpenFile& file, RestoreState& state) {
  const auto position = static_cast<off_t>(file.position());
  if (position == 0 || ::lseek(fd, position, SEEK_SET) == position) return;
  state.warnings.push_back(
      fmt::format("{} is read from its beginning again: {}", file.path(), std::strerror(errno)));
}

class ProcFileKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "proc file"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return is_kernels_own(view);
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState& state) const override {
    const auto process = process_of_path(view.target);
    if (process && !is_inside(*process, state)) {
      return Refusal{"it is about a process that is gone or outside of the computation",
                     "let the program close it before"};
    }
    if (!process && ::access(view.target.c_str(), F_OK) != 0) {
      return Refusal{"its path is gone", "let the program close it before"};
    }
    return std::nullopt;
  }

  void capture(const FileView&, CaptureState&, snapshot::OpenFile& file) const override {
    file.mutable_proc();
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override { return file.has_proc(); }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState&) const override {
    if (process_of_path(file.path()) || ::access(file.path().c_str(), F_OK) == 0) {
      return std::nullopt;
    }
    return Refusal{fmt::format("{} does not exist on this host", file.path()),
                   "restart on a host with the same kernel and devices"};
  }

  // Of a process: something to hold the place until the processes are there.
  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    if (!process_of_path(file.path())) {
      base::UniqueFd fd = reopen(file.path(), file, state);
      set_position(fd.get(), file, state);
      return fd;
    }
    base::UniqueFd place(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!place) base::throw_system("cannot open /dev/null");
    return place;
  }

  // All who hold the place get the file that one of them has opened.
  void finish_restore(const snapshot::OpenFile& file, RestoreState& state,
                      process::HeldProcess& holder, int) const override {
    if (!process_of_path(file.path())) return;
    const base::UniqueFd fd = open_inside(holder, file);
    set_position(fd.get(), file, state);
    for (const DescriptorPlace& place : places_of(*state.model, file.id())) {
      state.processes.at(place.pid)->agent->give_fd(fd.get(), place.fd, place.close_on_exec);
    }
  }
};

}  // namespace

std::optional<pid_t> process_of_path(std::string_view path) {
  if (!path.starts_with(kProc)) return std::nullopt;
  path.remove_prefix(kProc.size());
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), pid);
  if (error != std::errc()) return std::nullopt;
  if (end != path.data() + path.size() && *end != '/' && *end != ' ') return std::nullopt;
  return pid;
}

std::unique_ptr<FileKind> make_proc_file_kind() { return std::make_unique<ProcFileKind>(); }

}  // namespace torpor::resource
