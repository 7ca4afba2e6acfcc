// Who is using the directory of an image.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/unique_fd.h"

namespace torpor::image {

// A lock on an image's directory, kept until it is destroyed or the process ends.
//  - shared: somebody reads the image (a restart in progress): it will not be removed.
//  - exclusive: somebody writes or removes it.
// It is a flock(2) of an own open file description: children that inherit the descriptor hold it
// too, programs that they execute do not. Between hosts it works only where the file system takes
// flock there.
class DirectoryLock {
 public:
  // Waits for a writer or remover at most `patience`. Throws Error not_found if there is no such
  // directory (any more), conflict if it stays busy.
  static DirectoryLock shared(const std::filesystem::path& path,
                              std::chrono::milliseconds patience = std::chrono::seconds(2));

  // Nothing if the directory is busy or is gone. Never waits.
  static std::optional<DirectoryLock> try_exclusive(const std::filesystem::path& path);

  // Makes an exclusive lock shared. Not atomic: somebody else may hold it exclusively in between,
  // then nothing is held.
  void share();

  [[nodiscard]] int directory_fd() const { return fd_.get(); }

 private:
  explicit DirectoryLock(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

}  // namespace torpor::image
