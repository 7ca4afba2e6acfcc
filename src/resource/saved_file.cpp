#include "resource/saved_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "resource/file_path.h"
#include "resource/memfd.h"
#include "resource/private_copy.h"

namespace torpor::resource {
namespace {

// Mapped by somebody who shares what he writes: memory.h has made a record of it.
bool is_mapped_shared(const FileView& view, const CaptureState& state) {
  return state.shared_memories.contains({view.status.st_dev, view.status.st_ino});
}

bool has_writer(const FileView& view, const CaptureState& state) {
  return std::ranges::any_of(state.holders, [&view](const Holder& holder) {
    return holder.device == view.status.st_dev && holder.inode == view.status.st_ino &&
           (holder.flags & O_PATH) == 0 && (holder.flags & O_ACCMODE) != O_RDONLY;
  });
}

bool has_content(const CaptureState& state, std::uint64_t id) {
  return std::ranges::any_of(state.contents, [id](const CaptureState::Content& content) {
    return !content.shared_memory && content.id == id;
  });
}

const snapshot::SavedFile& find_saved(std::uint64_t id, const RestoreState& state) {
  for (const snapshot::SavedFile& saved : state.model->saved_files()) {
    if (saved.id() == id) return saved;
  }
  throw base::Error(base::ErrorCode::bad_image,
                    fmt::format("the deleted file {} is not in the image", id));
}

int made_file(std::uint64_t id, const RestoreState& state) {
  const auto made = state.saved_files.find(id);
  if (made == state.saved_files.end()) {
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("the deleted file {} is missing", id));
  }
  return made->second.get();
}

class SavedFileKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "deleted file"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return S_ISREG(view.status.st_mode) && is_unlinked(view) && is_ordinary(view);
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState&) const override {
    if (can_be_read(view)) return std::nullopt;
    return Refusal{
        "the file is deleted, and its content cannot be read: it is open for writing only "
        "and its mode forbids to open it again",
        "let the program make it with a mode that allows its user to read it"};
  }

  void capture(const FileView& view, CaptureState& state, snapshot::OpenFile& file) const override {
    if (is_mapped_shared(view, state)) {
      file.set_shared_memory(capture_shared_memory(view, state));
      return;
    }
    const std::uint64_t id =
        saved_file_id(state, view.status, std::string(without_deleted(view.target)));
    file.set_saved_file(id);
    if (has_content(state, id)) return;
    state.contents.push_back({id, false, frozen_content(view, !has_writer(view, state)),
                              static_cast<std::uint64_t>(view.status.st_size)});
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_saved_file();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState& state) const override {
    static_cast<void>(find_saved(file.saved_file(), state));
    return std::nullopt;
  }

  // Its mode may forbid what the program once was allowed; finish_restore() sets it.
  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    const int fd = made_file(file.saved_file(), state);
    if (::fchmod(fd, S_IRUSR | S_IWUSR) != 0) base::throw_system("cannot open {}", file.path());
    return reopen_descriptor(fd, file, state);
  }

  void finish_restore(const snapshot::OpenFile& file, RestoreState& state, process::HeldProcess&,
                      int) const override {
    const snapshot::SavedFile& saved = find_saved(file.saved_file(), state);
    if (::fchmod(made_file(file.saved_file(), state), saved.mode() & 07777) != 0) {
      base::throw_system("cannot set the mode of {}", saved.path());
    }
  }

  [[nodiscard]] bool has_position() const override { return true; }
};

}  // namespace

std::uint64_t saved_file_id(CaptureState& state, const struct ::stat& status,
                            const std::string& path) {
  std::uint64_t& id = state.saved_files[{status.st_dev, status.st_ino}];
  if (id != 0) return id;
  snapshot::SavedFile& saved = *state.model->add_saved_files();
  id = static_cast<std::uint64_t>(state.model->saved_files_size());
  saved.set_id(id);
  saved.set_path(path);
  saved.set_size(static_cast<std::uint64_t>(status.st_size));
  saved.set_mode(status.st_mode & 07777);
  return id;
}

std::unique_ptr<FileKind> make_saved_file_kind() { return std::make_unique<SavedFileKind>(); }

}  // namespace torpor::resource
