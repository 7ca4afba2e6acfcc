#include "resource/private_copy.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"

namespace torpor::resource {
namespace {

base::UniqueFd open_again(const FileView& view) {
  return base::UniqueFd(::open(view.link().c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
}

bool is_readable(const FileView& view) { return (view.info.flags & O_ACCMODE) != O_WRONLY; }

struct Reader {
  base::UniqueFd fd;
  bool own = false;
};

Reader reader_of(const FileView& view) {
  if (base::UniqueFd own = open_again(view)) return {std::move(own), true};
  if (is_readable(view)) return {view.take(), false};
  throw base::Error(
      base::ErrorCode::refused,
      fmt::format("process {}: {}: its content cannot be read, it is open for writing only and its "
                  "mode forbids to open it again",
                  view.pid, view.describe()),
      "give the user leave to read it (chmod u+r)");
}

// The next piece of data at or behind `offset`.
std::pair<off_t, off_t> next_data(int fd, off_t offset, off_t size) {
  const off_t start = ::lseek(fd, offset, SEEK_DATA);
  if (start < 0 && errno == ENXIO) return {size, size};
  if (start < 0) return {offset, size};  // this file system does not know of holes
  const off_t end = ::lseek(fd, start, SEEK_HOLE);
  return {start, end < 0 ? size : std::min(end, size)};
}

void copy_piece(int from, off_t start, off_t end, int to) {
  if (::lseek(to, start, SEEK_SET) < 0) base::throw_system("cannot seek in a copy");
  while (start < end) {
    const ssize_t sent = ::sendfile(to, from, &start, static_cast<std::size_t>(end - start));
    if (sent < 0) base::throw_system("cannot copy the content of a file");
    if (sent == 0) return;  // shorter than its size said
  }
}

}  // namespace

base::UniqueFd open_for_reading(const FileView& view) { return reader_of(view).fd; }

bool can_be_read(const FileView& view) { return is_readable(view) || open_again(view).valid(); }

base::UniqueFd private_copy(int fd, bool own, std::uint64_t size) {
  base::UniqueFd copy(::memfd_create("torpor-copy", MFD_CLOEXEC));
  if (!copy || ::ftruncate(copy.get(), static_cast<off_t>(size)) != 0) {
    base::throw_system("cannot make room for a copy of {} bytes", size);
  }
  const auto end = static_cast<off_t>(size);
  if (!own) copy_piece(fd, 0, end, copy.get());
  for (off_t offset = 0; own && offset < end;) {
    const auto [start, stop] = next_data(fd, offset, end);
    copy_piece(fd, start, stop, copy.get());
    offset = stop;
  }
  return copy;
}

base::UniqueFd frozen_content(const FileView& view, bool immutable) {
  Reader reader = reader_of(view);
  if (immutable) return std::move(reader.fd);
  return private_copy(reader.fd.get(), reader.own, static_cast<std::uint64_t>(view.status.st_size));
}

}  // namespace torpor::resource
