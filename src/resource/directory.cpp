#include "resource/directory.h"

#include <dirent.h>
#include <fcntl.h>

#include <array>

#include "base/error.h"
#include "resource/file_facts.h"
#include "resource/file_path.h"

namespace torpor::resource {
namespace {

// ext4 remembers where a listing has come to, and only from the first read on. Without one, an open
// directory that is put at its end and later rewound looks empty (ext4_dx_readdir() in
// fs/ext4/dir.c).
void begin_listing(int fd, const std::string& path) {
  alignas(dirent64) std::array<char, 1024> entries{};
  if (::getdents64(fd, entries.data(), entries.size()) < 0) {
    base::throw_system("cannot list {}", path);
  }
}

class DirectoryKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "directory"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return S_ISDIR(view.status.st_mode) && is_ordinary(view);
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState&) const override {
    if (view.status.st_nlink == 0) {
      return Refusal{"the directory has been deleted", "close it, or leave that directory, before"};
    }
    return find_path(view).refusal;
  }

  void capture(const FileView& view, CaptureState&, snapshot::OpenFile& file) const override {
    file.set_path(find_path(view).path);
    *file.mutable_directory()->mutable_facts() = file_facts(view.status);
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_directory();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState&) const override {
    return check_path(file, file.directory().facts());
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    snapshot::OpenFile directory = file;
    directory.set_flags(file.flags() | O_DIRECTORY);
    base::UniqueFd fd = reopen(file.path(), directory, state);
    struct ::stat now {};
    if (::fstat(fd.get(), &now) != 0) base::throw_system("cannot look at {}", file.path());
    // The position is a place in the directory's own order, which another file system does not
    // share (getdents(2), d_off).
    if (file.position() != 0 && now.st_ino != file.directory().facts().inode()) {
      state.warnings.push_back(
          fmt::format("{} is another directory than it was: a program that was just listing it may "
                      "miss names or see them twice",
                      file.path()));
    }
    if (file.position() != 0) begin_listing(fd.get(), file.path());
    return fd;
  }

  [[nodiscard]] bool has_position() const override { return true; }
};

}  // namespace

std::unique_ptr<FileKind> make_directory_kind() { return std::make_unique<DirectoryKind>(); }

}  // namespace torpor::resource
