// A generation in the making. It becomes visible in one step, in commit(), or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
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
  // Makes <store>/.partial-<generation>-<our pid>, 0700, and everything above it that is missing.
  // Throws Error io or permission.
  explicit ImageWriter(const Store& store, CommitObserver observer = {});
  // Removes the partial directory unless it was committed.
  ~ImageWriter();
  ImageWriter(const ImageWriter&) = delete;
  ImageWriter& operator=(const ImageWriter&) = delete;

  [[nodiscard]] int directory_fd() const { return directory_.get(); }
  [[nodiscard]] std::uint64_t generation() const { return generation_; }

  // Every file that was written into the directory must be added, or commit() will not know of it.
  // Keeps at most 128 descriptors open: syncs the oldest files when there are more.
  void add(WrittenFile file);

  // Fills in the manifest's format_version, name, generation and files, and brings everything to
  // disk and into sight: files, directory, manifest, directory, rename, parent. Returns the path of
  // the generation. Throws Error io (nothing became visible), or conflict when the generation
  // exists. Only once.
  std::filesystem::path commit(snapshot::Manifest manifest);

 private:
  void create_partial();
  void sync_oldest(std::size_t keep);
  void write_manifest(const snapshot::Manifest& manifest);
  void make_visible();
  void reached(CommitStep step);

  std::filesystem::path parent_path_;
  std::string name_;
  std::uint64_t generation_ = 0;
  std::string partial_name_;
  CommitObserver observer_;
  base::UniqueFd parent_;
  base::UniqueFd directory_;  // holds the lock
  std::vector<snapshot::ImageFile> files_;
  std::vector<WrittenFile> unsynced_;
  bool committed_ = false;
};

}  // namespace torpor::image
