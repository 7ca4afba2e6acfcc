#include "resource/content.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/error.h"
#include "resource/shared_memory.h"

namespace torpor::resource {
namespace {

template <typename Extents>
void copy_extents(int from, int to, const Extents& extents, const std::string& name) {
  for (const snapshot::Extent& extent : extents) {
    auto offset = static_cast<off_t>(extent.offset());
    if (::lseek(to, offset, SEEK_SET) < 0) base::throw_system("cannot fill {}", name);
    const auto end = static_cast<off_t>(extent.offset() + extent.size());
    while (offset < end) {
      const ssize_t sent = ::sendfile(to, from, &offset, static_cast<std::size_t>(end - offset));
      if (sent <= 0) base::throw_system("cannot copy {} out of the image", name);
    }
  }
  ::lseek(to, 0, SEEK_SET);
}

// An unlinked file where the deleted one was; in memory if that directory takes none.
base::UniqueFd make_saved_file(const snapshot::SavedFile& saved) {
  const std::string directory = saved.path().substr(0, saved.path().rfind('/') + 1);
  base::UniqueFd file;
  if (!directory.empty()) {
    file.reset(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, saved.mode() & 07777));
  }
  if (!file) file.reset(::memfd_create("saved", MFD_CLOEXEC));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(saved.size())) != 0) {
    base::throw_system("cannot make the deleted file {} again", saved.path());
  }
  return file;
}

}  // namespace

void restore_contents(const image::Image& image, RestoreState& state) {
  for (const snapshot::SharedMemory& memory : state.model->shared_memories()) {
    base::UniqueFd fd = make_shared_memory(memory);
    if (!memory.content_file().empty()) {
      const base::UniqueFd content = image.content(memory);
      copy_extents(content.get(), fd.get(), memory.extents(), "shared memory");
    }
    state.shared_memories[memory.id()] = std::move(fd);
  }
  for (const snapshot::SavedFile& saved : state.model->saved_files()) {
    base::UniqueFd fd = make_saved_file(saved);
    if (!saved.content_file().empty()) {
      const base::UniqueFd content = image.content(saved);
      copy_extents(content.get(), fd.get(), saved.extents(), saved.path());
    }
    state.saved_files[saved.id()] = std::move(fd);
  }
}

}  // namespace torpor::resource
