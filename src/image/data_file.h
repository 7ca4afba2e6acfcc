// A large file that several threads write at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>

#include "base/unique_fd.h"
#include "image/written_file.h"

namespace torpor::image {

class DataFile {
 public:
  // Creates it. `expected`: how large it will become at most; that much is preallocated by and by
  // (direct writes into preallocated space run beside each other, those that extend the file do
  // not). 0 for files with holes. Throws Error io.
  DataFile(int directory_fd, std::string name, std::uint64_t expected, const WriteOptions& options);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  // Takes the next `bytes` of the file and returns their offset. Any thread.
  std::uint64_t claim(std::uint64_t bytes) { return claimed_.fetch_add(bytes); }
  [[nodiscard]] std::uint64_t claimed() const { return claimed_; }

  // Writes whole pages from a page-aligned buffer to a page-aligned offset, and sets them going to
  // the disk. Any thread; the thread holds a FileSizeSignalGuard. Throws Error io.
  void write_pages(std::uint64_t offset, std::span<const std::byte> pages);

  // Ends the writing of pages: from now on any bytes can be written anywhere. One thread.
  void end_pages();
  void write_bytes(std::uint64_t offset, std::span<const std::byte> bytes);

  // Gives the file the size, and away. One thread.
  WrittenFile finish(std::uint64_t size, std::uint64_t checksum, std::uint64_t checked_from) &&;

 private:
  void preallocate(std::uint64_t end);
  void check_fault(std::uint64_t offset, std::size_t size) const;
  bool write_direct(std::uint64_t& offset, std::span<const std::byte>& pages);
  void leave_direct();

  std::string name_;
  const WriteOptions& options_;
  base::UniqueFd fd_;
  std::atomic<bool> direct_{false};
  std::atomic<std::uint64_t> claimed_{0};
  std::mutex allocation_;
  const std::uint64_t expected_;
  std::atomic<std::uint64_t> allocated_{0};
};

}  // namespace torpor::image
