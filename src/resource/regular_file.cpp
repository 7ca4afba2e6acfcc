#include "resource/regular_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "resource/file_facts.h"
#include "resource/file_path.h"

namespace torpor::resource {
namespace {

enum class Change { none, grown, other };

bool writes(const snapshot::OpenFile& file) {
  return (file.flags() & O_PATH) == 0 && (file.flags() & O_ACCMODE) != O_RDONLY;
}

bool is_same_file(const snapshot::FileFacts& a, const snapshot::FileFacts& b) {
  return a.device() == b.device() && a.inode() == b.inode();
}

// A reader does not know why a file has grown; but if the computation itself was writing it, that
// is what it did after the checkpoint.
bool computation_writes(const snapshot::Computation& model, const snapshot::FileFacts& facts) {
  return std::ranges::any_of(model.open_files(), [&facts](const snapshot::OpenFile& file) {
    return file.has_regular() && writes(file) && is_same_file(file.regular().facts(), facts);
  });
}

Change change_of(const snapshot::OpenFile& file, const struct ::stat& now,
                 const RestoreState& state) {
  const snapshot::FileFacts& was = file.regular().facts();
  if (!difference(was, now)) return Change::none;
  const bool grown = static_cast<std::uint64_t>(now.st_size) > was.size();
  return grown && computation_writes(*state.model, was) ? Change::grown : Change::other;
}

Refusal changed(const snapshot::OpenFile& file, const struct ::stat& now) {
  return {fmt::format("{} has changed since the checkpoint: {}", file.path(),
                      difference(file.regular().facts(), now).value_or("")),
          "put back the file as it was, or accept its present content with "
          "--accept-changed-files"};
}

class RegularFileKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "regular file"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return S_ISREG(view.status.st_mode) && is_ordinary(view);
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState&) const override {
    return find_path(view).refusal;
  }

  void capture(const FileView& view, CaptureState&, snapshot::OpenFile& file) const override {
    file.set_path(find_path(view).path);
    *file.mutable_regular()->mutable_facts() = file_facts(view.status);
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_regular() && (file.flags() & O_PATH) == 0;
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState& state) const override {
    if (auto refusal = check_path(file, file.regular().facts())) return refusal;
    struct ::stat now {};
    if (::stat(file.path().c_str(), &now) != 0) return std::nullopt;  // restore() will say
    return judge(file, now, state);
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    base::UniqueFd fd = reopen(file.path(), file, state);
    struct ::stat now {};
    if (::fstat(fd.get(), &now) != 0) base::throw_system("cannot look at {}", file.path());
    if (const auto refusal = judge(file, now, state)) {
      throw base::Error(base::ErrorCode::refused, refusal->reason, refusal->remedy);
    }
    switch (change_of(file, now, state)) {
      case Change::none: break;
      case Change::grown:
        state.grown_files[{now.st_dev, now.st_ino}] = {file.path(), file.regular().facts()};
        break;
      case Change::other: state.warnings.push_back(changed(file, now).reason); break;
    }
    return fd;
  }

  [[nodiscard]] bool has_position() const override { return true; }

 private:
  static std::optional<Refusal> judge(const snapshot::OpenFile& file, const struct ::stat& now,
                                      const RestoreState& state) {
    switch (change_of(file, now, state)) {
      case Change::none: return std::nullopt;
      case Change::grown:
        if (::access(file.path().c_str(), R_OK | W_OK) == 0) return std::nullopt;
        return Refusal{fmt::format("{} has grown, and to cut it back it must be readable and "
                                   "writable",
                                   file.path()),
                       "give yourself leave to read and write it"};
      case Change::other:
        if (state.accept_changed_files) return std::nullopt;
        return changed(file, now);
    }
    return std::nullopt;
  }
};

// A new file for what is cut off from `path`.
std::pair<base::UniqueFd, std::string> make_tail(const std::string& path,
                                                 const RestoreState& state) {
  const std::filesystem::path file(path);
  const std::filesystem::path directory = state.tails.empty() ? file.parent_path() : state.tails;
  for (unsigned n = 1;; ++n) {
    const std::string name =
        directory / fmt::format("{}.torpor-cut-{}", file.filename().string(), n);
    base::UniqueFd fd(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (fd) return {std::move(fd), name};
    if (errno != EEXIST) base::throw_system("cannot make {}, to keep the end of {}", name, path);
  }
}

void copy_range(int from, std::uint64_t start, std::uint64_t end, int to, const std::string& name) {
  std::vector<std::byte> buffer(1 << 20);
  while (start < end) {
    const std::size_t wanted = std::min<std::uint64_t>(buffer.size(), end - start);
    const ssize_t got = ::pread(from, buffer.data(), wanted, static_cast<off_t>(start));
    if (got == 0) return;  // it has just become shorter
    if (got < 0 || ::write(to, buffer.data(), static_cast<std::size_t>(got)) != got) {
      base::throw_system("cannot copy to {}", name);
    }
    start += static_cast<std::uint64_t>(got);
  }
}

// With the time of the checkpoint the file is unchanged for another restart of the same image.
void set_back(int fd, const RestoreState::GrownFile& grown) {
  if (::ftruncate(fd, static_cast<off_t>(grown.facts.size())) != 0) {
    base::throw_system("cannot cut {} back to {} bytes", grown.path, grown.facts.size());
  }
  constexpr std::int64_t kSecond = 1000000000;
  const timespec modified{grown.facts.modified_ns() / kSecond, grown.facts.modified_ns() % kSecond};
  const timespec times[2]{{0, UTIME_OMIT}, modified};
  static_cast<void>(::futimens(fd, times));  // only its owner may: a nicety
}

void cut(const RestoreState::GrownFile& grown, RestoreState& state) {
  const base::UniqueFd fd(::open(grown.path.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY));
  struct ::stat now {};
  if (!fd || ::fstat(fd.get(), &now) != 0) base::throw_system("cannot open {}", grown.path);
  const auto size = static_cast<std::uint64_t>(now.st_size);
  if (size <= grown.facts.size()) return;
  const auto [tail, name] = make_tail(grown.path, state);
  copy_range(fd.get(), grown.facts.size(), size, tail.get(), name);
  if (::fsync(tail.get()) != 0) base::throw_system("cannot write {}", name);
  set_back(fd.get(), grown);
  state.warnings.push_back(
      fmt::format("{} had grown from {} to {} bytes and was cut back; the end is kept in {}",
                  grown.path, grown.facts.size(), size, name));
}

}  // namespace

void cut_grown_files(RestoreState& state) {
  for (const auto& [file, grown] : state.grown_files) cut(grown, state);
  state.grown_files.clear();
}

std::unique_ptr<FileKind> make_regular_file_kind() { return std::make_unique<RegularFileKind>(); }

}  // namespace torpor::resource
