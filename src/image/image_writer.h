// A generation in the making. It becomes visible in one step, in commit(), or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "image/directory_lock.h"
#include "image/store.h"
#include "image/written_file.h"
#include "proto/snapshot.pb.h"

namespace torpor::image {

// The points of commit() between which a crash makes a difference.
enum class CommitStep {
  created,       // the partial directory exists and is locked
  files_synced,  // fsync of every file
  directory_synced,
  manifest_written,
  manifest_synced,
  directory_synced_again,
  renamed,  // visible
  done,     // and durable
};

// Called after each step; for tests (it may throw, or kill the process).
using CommitObserver = std::function<void(CommitStep)>;

class ImageWriter {
 public:
  // Makes <store>/.partial-<generation>-<our pid>, 0700, and everything above it that is missing,
  // and locks it. Throws Error io or permission.
  explicit ImageWriter(const Store& store, CommitObserver observer = {});
  // Removes the partial directory unless it was committed.
  ~ImageWriter();
  ImageWriter(const ImageWriter&) = delete;
  ImageWriter& operator=(const ImageWriter&) = delete;

  [[nodiscard]] int directory_fd() const { return lock_->directory_fd(); }
  [[nodiscard]] std::uint64_t generation() const { return generation_; }

  // Every file that was written into the directory must be added, or commit() will not know of it.
  // Keeps at most 128 descriptors open: syncs the oldest files when there are more.
  void add(WrittenFile file);

  // Fills in the manifest's format_version, name, generation and files, and brings everything to
  // disk and into sight: files, directory, manifest, directory, rename, parent. Returns the path of
  // the generation. Only once. Throws Error io, or conflict when that generation exists already:
  // then nothing has become visible; if only the very last step fails (fsync of the parent), the
  // message says that the image is there but might not outlive a crash of the system.
  std::filesystem::path commit(snapshot::Manifest manifest);

 private:
  void create_partial();
  void sync_files(std::size_t leave);
  void write_manifest(const snapshot::Manifest& manifest);
  void make_visible();
  void reached(CommitStep step) const;

  Store store_;
  CommitObserver observer_;
  std::uint64_t generation_ = 0;
  std::filesystem::path partial_;
  std::optional<DirectoryLock> lock_;
  std::vector<snapshot::ImageFile> files_;
  std::vector<WrittenFile> unsynced_;
  bool visible_ = false;
};

}  // namespace torpor::image
