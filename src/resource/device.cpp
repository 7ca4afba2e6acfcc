#include "resource/device.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <cstring>

#include "base/error.h"
#include "resource/file_path.h"

// Names of ours too; the functions behind them are used instead.
#undef major
#undef minor

namespace torpor::resource {
namespace {

// Numbers as Documentation/admin-guide/devices.txt of the kernel assigns them: they keep nothing
// between two calls, so that opening them again is all there is to do.
bool is_stateless(dev_t device) {
  if (gnu_dev_major(device) != 1) return false;
  switch (gnu_dev_minor(device)) {
    case 3:  // null
    case 5:  // zero
    case 7:  // full
    case 8:  // random
    case 9:  // urandom
      return true;
    default: return false;
  }
}

class DeviceKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "device"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return S_ISCHR(view.status.st_mode) && is_stateless(view.status.st_rdev);
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState&) const override {
    return find_path(view).refusal;
  }

  void capture(const FileView& view, CaptureState&, snapshot::OpenFile& file) const override {
    file.set_path(find_path(view).path);
    file.mutable_device()->set_major(gnu_dev_major(view.status.st_rdev));
    file.mutable_device()->set_minor(gnu_dev_minor(view.status.st_rdev));
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_device();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState&) const override {
    snapshot::FileFacts facts;
    facts.set_mode(S_IFCHR);
    if (auto refusal = check_path(file, facts)) return refusal;
    struct ::stat now {};
    if (::stat(file.path().c_str(), &now) != 0 || !is_same(file, now)) return other_device(file);
    return std::nullopt;
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    base::UniqueFd fd = reopen(file.path(), file, state);
    struct ::stat now {};
    if (::fstat(fd.get(), &now) != 0) base::throw_system("cannot look at {}", file.path());
    if (!is_same(file, now)) {
      throw base::Error(base::ErrorCode::refused, other_device(file).reason,
                        other_device(file).remedy);
    }
    return fd;
  }

 private:
  static bool is_same(const snapshot::OpenFile& file, const struct ::stat& now) {
    return S_ISCHR(now.st_mode) &&
           now.st_rdev == gnu_dev_makedev(file.device().major(), file.device().minor());
  }

  static Refusal other_device(const snapshot::OpenFile& file) {
    return {fmt::format("{} is not the device {}:{} that it was", file.path(),
                        file.device().major(), file.device().minor()),
            "restart where /dev has the usual devices"};
  }
};

}  // namespace

std::unique_ptr<FileKind> make_device_kind() { return std::make_unique<DeviceKind>(); }

}  // namespace torpor::resource
