// An image, opened for reading. Everything that it hands out has been checked against the
// manifest's bounds; the checksums of pages and contents are checked by verify.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "image/directory_lock.h"
#include "image/extents.h"
#include "proto/snapshot.pb.h"

namespace torpor::image {

// All functions throw Error bad_image naming the file, or io.
class Image {
 public:
  // `path`: the directory of a generation. Keeps it from being removed as long as it lives. Reads
  // the manifest and checks that every file that it names is there and has its size.
  static Image open(const std::filesystem::path& path);

  [[nodiscard]] const snapshot::Manifest& manifest() const { return manifest_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] int directory_fd() const { return lock_.directory_fd(); }

  // The entry of the manifest; `name` must be one of the manifest's files.
  [[nodiscard]] const snapshot::ImageFile& file(const std::string& name) const;
  // Opens one of the manifest's files for reading.
  [[nodiscard]] base::UniqueFd open_file(const std::string& name) const;

  // The process's table: checksum, order and bounds are checked, and that each extent lies within
  // one area whose pages belong into the core. Empty if the process has no memory file (a zombie).
  [[nodiscard]] ExtentTable extents(const snapshot::Process& process) const;
  // The process's core, for reading.
  [[nodiscard]] base::UniqueFd core(const snapshot::Process& process) const;

  // The content file, for reading. It is `size` long, and the extents are sorted and within it.
  [[nodiscard]] base::UniqueFd content(const snapshot::SharedMemory& memory) const;
  [[nodiscard]] base::UniqueFd content(const snapshot::SavedFile& saved) const;

 private:
  Image(std::filesystem::path path, DirectoryLock lock, snapshot::Manifest manifest);
  void check_files() const;
  [[nodiscard]] base::UniqueFd open_content(
      const std::string& name, std::uint64_t size,
      const google::protobuf::RepeatedPtrField<snapshot::Extent>& extents) const;

  std::filesystem::path path_;
  DirectoryLock lock_;
  snapshot::Manifest manifest_;
};

}  // namespace torpor::image
