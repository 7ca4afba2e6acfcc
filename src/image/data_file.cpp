#include "image/data_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "image/file_io.h"

namespace torpor::image {

namespace {

// What may lie preallocated and unused for a moment. Enough that its cost does not show.
constexpr std::uint64_t allocation_step = std::uint64_t{64} << 20;

// O_DIRECT where the file system takes it. It says EINVAL after it has created the file, so that is
// tried only on the open file.
bool try_direct(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
}

}  // namespace

DataFile::DataFile(int directory_fd, std::string name, std::uint64_t expected,
                   const WriteOptions& options)
    : name_(std::move(name)),
      options_(options),
      fd_(create_file(directory_fd, name_)),
      direct_(options.direct && try_direct(fd_.get())),
      expected_(expected) {}

// Best effort: what is wrong with the disk is said by the write itself.
void DataFile::preallocate(std::uint64_t end) {
  if (end <= allocated_ || end > expected_) return;
  const std::lock_guard lock(allocation_);
  const std::uint64_t from = allocated_;
  if (end <= from) return;
  const std::uint64_t to = std::min(expected_, std::max(end, from + allocation_step));
  const bool done =
      ::fallocate(fd_.get(), 0, static_cast<off_t>(from), static_cast<off_t>(to - from)) == 0;
  allocated_ = done ? to : std::numeric_limits<std::uint64_t>::max();
}

void DataFile::check_fault(std::uint64_t offset, std::size_t size) const {
  if (!options_.fault) return;
  if (const int error = options_.fault(offset, size); error != 0) {
    throw_write_error(
        error, fmt::format("writing {} bytes at {} of {}", size, offset, path_of_fd(fd_.get())));
  }
}

void DataFile::leave_direct() {
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd_.get(), F_SETFL, flags & ~O_DIRECT) != 0) {
    throw_write_error(errno, fmt::format("leaving direct mode of {}", path_of_fd(fd_.get())));
  }
  direct_ = false;
}

// False: this file system or disk wants another alignment, or takes no direct writes after all.
// Whatever else is wrong shows when the rest is written through the cache.
bool DataFile::write_direct(std::uint64_t& offset, std::span<const std::byte>& pages) {
  while (!pages.empty()) {
    const ssize_t n = ::pwrite(fd_.get(), pages.data(), pages.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || n % 4096 != 0) return false;
    offset += static_cast<std::uint64_t>(n);
    pages = pages.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

void DataFile::write_pages(std::uint64_t offset, std::span<const std::byte> pages) {
  check_fault(offset, pages.size());
  preallocate(offset + pages.size());
  if (direct_ && write_direct(offset, pages)) return;
  if (direct_) leave_direct();
  write_all(fd_.get(), offset, pages);
  // Start now what fsync would otherwise begin with at the end. Errors come back from fsync.
  ::sync_file_range(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(pages.size()),
                    SYNC_FILE_RANGE_WRITE);
}

void DataFile::end_pages() {
  if (direct_) leave_direct();
}

void DataFile::write_bytes(std::uint64_t offset, std::span<const std::byte> bytes) {
  check_fault(offset, bytes.size());
  write_all(fd_.get(), offset, bytes);
}

WrittenFile DataFile::finish(std::uint64_t size, std::uint64_t checksum,
                             std::uint64_t checked_from) && {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
    throw_write_error(errno,
                      fmt::format("giving {} the size of {} bytes", path_of_fd(fd_.get()), size));
  }
  WrittenFile file;
  file.description.set_name(name_);
  file.description.set_size(size);
  file.description.set_checksum(checksum);
  file.description.set_checked_from(checked_from);
  file.fd = std::move(fd_);
  return file;
}

}  // namespace torpor::image
