#include "resource/path_handle.h"

#include <fcntl.h>

#include "resource/file_facts.h"
#include "resource/file_path.h"

namespace torpor::resource {
namespace {

bool is_path_only(std::uint32_t flags) { return (flags & O_PATH) != 0; }

class PathHandleKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "path handle"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return is_path_only(view.info.flags) && !S_ISDIR(view.status.st_mode);
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState&) const override {
    if (is_unlinked(view)) return Refusal{"it names a deleted file (O_PATH)", "close it before"};
    if (!is_ordinary(view)) {
      return Refusal{"it names (O_PATH) something that has no lasting path", "close it before"};
    }
    return find_path(view).refusal;
  }

  void capture(const FileView& view, CaptureState&, snapshot::OpenFile& file) const override {
    file.set_path(find_path(view).path);
    *file.mutable_regular()->mutable_facts() = file_facts(view.status);
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_regular() && is_path_only(file.flags());
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState&) const override {
    return check_path(file, file.regular().facts());
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    return reopen(file.path(), file, state);
  }
};

}  // namespace

std::unique_ptr<FileKind> make_path_handle_kind() { return std::make_unique<PathHandleKind>(); }

}  // namespace torpor::resource
