#include "resource/signal_fd.h"

#include <sys/signalfd.h>

#include <csignal>
#include <cstring>

#include "base/error.h"
#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

class SignalFdKind final : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "signalfd"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return view.info.signalfd_mask.has_value();
  }

  void capture(const FileView& view, CaptureState&, snapshot::OpenFile& file) const override {
    file.mutable_signal()->set_mask(*view.info.signalfd_mask);
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_signal();
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState&) const override {
    return make_signal_fd(file.signal().mask());
  }
};

}  // namespace

std::unique_ptr<FileKind> make_signal_fd_kind() { return std::make_unique<SignalFdKind>(); }

base::UniqueFd make_signal_fd(std::uint64_t mask) {
  // Copied, not built with sigaddset(), which keeps out the two signals that glibc uses itself.
  sigset_t set{};
  static_assert(sizeof(set) >= sizeof(mask));
  std::memcpy(&set, &mask, sizeof(mask));
  base::UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!fd) base::throw_system("cannot make a signalfd");
  return fd;
}

}  // namespace torpor::resource
