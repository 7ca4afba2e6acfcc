#include "resource/memfd.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "resource/file_path.h"
#include "resource/private_copy.h"
#include "resource/shared_memory.h"

namespace torpor::resource {
namespace {

constexpr std::string_view kPrefix = "/memfd:";

snapshot::SharedMemory& record(CaptureState& state, std::uint64_t id) {
  return *state.model->mutable_shared_memories(static_cast<int>(id) - 1);
}

bool has_content(const CaptureState& state, std::uint64_t id) {
  return std::ranges::any_of(state.contents, [id](const CaptureState::Content& content) {
    return content.shared_memory && content.id == id;
  });
}

bool is_memfd(const FileView& view) {
  return view.target.starts_with(kPrefix) && view.status.st_nlink == 0;
}

std::string memfd_name(const FileView& view) {
  return std::string(without_deleted(view.target).substr(kPrefix.size()));
}

// 0 for what cannot be sealed, a file of an ordinary file system (fcntl(2), File Sealing).
std::uint32_t seals_of(int fd) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  return seals < 0 ? 0 : static_cast<std::uint32_t>(seals);
}

const snapshot::SharedMemory& find_memory(std::uint64_t id, const RestoreState& state) {
  for (const snapshot::SharedMemory& memory : state.model->shared_memories()) {
    if (memory.id() == id) return memory;
  }
  throw base::Error(base::ErrorCode::bad_image,
                    fmt::format("shared memory {} is not in the image", id));
}

int made_memory(std::uint64_t id, const RestoreState& state) {
  const auto made = state.shared_memories.find(id);
  if (made == state.shared_memories.end()) {
    throw base::Error(base::ErrorCode::bad_image, fmt::format("shared memory {} is missing", id));
  }
  return made->second.get();
}

class MemfdKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "memfd"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return S_ISREG(view.status.st_mode) && is_memfd(view);
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState&) const override {
    if (file_system_of(view) == HUGETLBFS_MAGIC) {
      return Refusal{"memory files of huge pages (MFD_HUGETLB) cannot be saved yet",
                     "let the program use MADV_HUGEPAGE instead"};
    }
    if (!can_be_read(view)) return Refusal{"its content cannot be read", "chmod u+r it"};
    return std::nullopt;
  }

  void capture(const FileView& view, CaptureState& state, snapshot::OpenFile& file) const override {
    file.set_shared_memory(capture_shared_memory(view, state));
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_shared_memory();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState& state) const override {
    static_cast<void>(find_memory(file.shared_memory(), state));
    return std::nullopt;
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    return open_shared_memory(file, state);
  }

  void finish_restore(const snapshot::OpenFile& file, RestoreState& state, process::HeldProcess&,
                      int) const override {
    finish_shared_memory(file.shared_memory(), state);
  }

  [[nodiscard]] bool has_position() const override { return true; }
};

}  // namespace

std::uint64_t capture_shared_memory(const FileView& view, CaptureState& state) {
  const auto size = static_cast<std::uint64_t>(view.status.st_size);
  const std::string name = is_memfd(view) ? memfd_name(view) : std::string();
  const std::uint64_t id =
      shared_memory_id(state, view.status.st_dev, view.status.st_ino, name, is_memfd(view), size);
  if (has_content(state, id)) return id;
  const base::UniqueFd taken = view.take();
  const std::uint32_t seals = is_memfd(view) ? seals_of(taken.get()) : 0;
  snapshot::SharedMemory& memory = record(state, id);
  memory.set_size(size);  // a mapping may reach further
  memory.set_mode(view.status.st_mode & 07777);
  memory.set_seals(seals);
  constexpr std::uint32_t kImmutable = F_SEAL_WRITE | F_SEAL_SHRINK;
  state.contents.push_back(
      {id, true, frozen_content(view, (seals & kImmutable) == kImmutable), size});
  return id;
}

base::UniqueFd open_shared_memory(const snapshot::OpenFile& file, RestoreState& state) {
  return reopen_descriptor(made_memory(file.shared_memory(), state), file, state);
}

void finish_shared_memory(std::uint64_t id, RestoreState& state) {
  const snapshot::SharedMemory& memory = find_memory(id, state);
  const int fd = made_memory(id, state);
  const std::uint32_t seals = seals_of(fd);
  if ((seals & F_SEAL_SEAL) != 0) return;  // done already
  if (::fchmod(fd, memory.mode()) != 0) base::throw_system("cannot set the mode of a memory file");
  if (memory.is_memfd() && ::fcntl(fd, F_ADD_SEALS, memory.seals() & ~seals) != 0) {
    base::throw_system("cannot seal the memory file {}", memory.name());
  }
}

std::unique_ptr<FileKind> make_memfd_kind() { return std::make_unique<MemfdKind>(); }

}  // namespace torpor::resource
