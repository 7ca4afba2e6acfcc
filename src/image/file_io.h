// Reading and writing the files of an image, with errors that name them.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace torpor::image {

// The path of an open file as far as the kernel knows it, for messages.
std::string path_of_fd(int fd);

// Throws Error io for an errno of a write, with the remedy that fits: whatever went wrong, the
// image could not be stored.
[[noreturn]] void throw_write_error(int error, std::string_view what);

// The bytes of a file are not what was written. Throws Error bad_image "<name>: <problem>".
[[noreturn]] void throw_bad_image(const std::string& name, std::string_view problem);

// Creates a file for reading and writing, 0600; it must not exist. Throws Error io.
base::UniqueFd create_file(int directory_fd, const std::string& name, int more_flags = 0);

// Opens a directory. Throws as throw_system does.
base::UniqueFd open_directory(const std::filesystem::path& path);

// Writes all at `offset`. Throws Error io.
void write_all(int fd, std::uint64_t offset, std::span<const std::byte> bytes);

// fsync(2). Throws Error io.
void sync(int fd);

[[nodiscard]] std::uint64_t size_of(int fd);

// Fills `into` from `offset`. Throws Error bad_image if the file ends before, io if it cannot be
// read.
void read_exactly(int fd, std::uint64_t offset, std::span<std::byte> into, const std::string& name);

// The whole content, as long as the file is now.
std::vector<std::byte> read_whole(int fd, const std::string& name);

// Directories that are missing on the way to `path` and `path` itself, each 0700 and durable.
void make_directories(const std::filesystem::path& path);

// As long as it lives, a file that grows beyond RLIMIT_FSIZE gives this thread EFBIG only: SIGXFSZ,
// which would end the whole supervisor, is blocked, and taken away again.
class FileSizeSignalGuard {
 public:
  FileSizeSignalGuard();
  ~FileSizeSignalGuard();
  FileSizeSignalGuard(const FileSizeSignalGuard&) = delete;
  FileSizeSignalGuard& operator=(const FileSizeSignalGuard&) = delete;

 private:
  sigset_t before_{};
  bool was_pending_ = false;
};

}  // namespace torpor::image
