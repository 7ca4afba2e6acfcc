#include "resource/event_fd.h"

#include <sys/eventfd.h>

#include <limits>

#include "base/error.h"
#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

class EventFdKind final : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "eventfd"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return view.info.eventfd.has_value();
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState&) const override {
    if (view.info.eventfd->count != std::numeric_limits<std::uint64_t>::max()) return std::nullopt;
    return Refusal{"the counter of the eventfd has overflowed, which no program can bring about",
                   "take the checkpoint when the program has read the eventfd"};
  }

  void capture(const FileView& view, CaptureState& state, snapshot::OpenFile& file) const override {
    *file.mutable_event() = read_event_fd(*view.info.eventfd);
    if (view.info.eventfd->semaphore) return;
    state.warnings.push_back(fmt::format(
        "process {}, descriptor {}: this kernel does not tell whether the eventfd is a semaphore "
        "(Linux 6.5 does); it is restored as a plain counter",
        view.pid, view.fd));
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_event();
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState&) const override {
    return make_event_fd(file.event());
  }
};

}  // namespace

std::unique_ptr<FileKind> make_event_fd_kind() { return std::make_unique<EventFdKind>(); }

snapshot::EventFd read_event_fd(const process::EventfdInfo& info) {
  snapshot::EventFd record;
  record.set_count(info.count);
  record.set_semaphore(info.semaphore.value_or(false));
  return record;
}

base::UniqueFd make_event_fd(const snapshot::EventFd& record) {
  base::UniqueFd fd(::eventfd(0, EFD_CLOEXEC | (record.semaphore() ? EFD_SEMAPHORE : 0)));
  if (!fd) base::throw_system("cannot make an eventfd");
  // Written, not given to eventfd(), which takes 32 bits only.
  if (record.count() != 0 && ::eventfd_write(fd.get(), record.count()) != 0) {
    base::throw_system("cannot set an eventfd to {}", record.count());
  }
  return fd;
}

}  // namespace torpor::resource
