#include "image/image_writer.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

#include "base/error.h"
#include "image/file_io.h"
#include "image/generation_name.h"
#include "image/manifest_io.h"
#include "image/parallel.h"

namespace torpor::image {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t most_open_files = 128;
constexpr unsigned sync_workers = 8;  // they only wait for the disk

}  // namespace

ImageWriter::ImageWriter(const Store& store, CommitObserver observer)
    : store_(store), observer_(std::move(observer)) {
  store_.create_directory();
  while (!lock_) create_partial();
  reached(CommitStep::created);
}

// One attempt. Between making and locking the directory it is taken for a leftover, and may go:
// then there is no lock, and the next attempt makes another.
void ImageWriter::create_partial() {
  generation_ = store_.next_generation();
  partial_ = store_.path() / partial_name(generation_);
  if (::mkdir(partial_.c_str(), 0700) != 0) {
    if (errno == EEXIST) return;  // another thread of ours was faster
    throw_write_error(errno, fmt::format("creating the directory {}", partial_.native()));
  }
  lock_ = DirectoryLock::try_exclusive(partial_);
}

ImageWriter::~ImageWriter() {
  if (visible_) return;
  std::error_code ignored;  // what stays behind is a leftover, which the next one removes
  fs::remove_all(partial_, ignored);
}

void ImageWriter::reached(CommitStep step) const {
  if (observer_) observer_(step);
}

void ImageWriter::add(WrittenFile file) {
  files_.push_back(file.description);
  unsynced_.push_back(std::move(file));
  if (unsynced_.size() > most_open_files) sync_files(most_open_files / 2);
}

// Side by side, for then a file system that has a journal writes it once for several files.
void ImageWriter::sync_files(std::size_t leave) {
  const std::size_t count = unsynced_.size() - leave;
  parallel_for(count, sync_workers,
               [&] { return [&](std::size_t item) { sync(unsynced_[item].fd.get()); }; });
  unsynced_.erase(unsynced_.begin(), unsynced_.begin() + static_cast<std::ptrdiff_t>(count));
}

void ImageWriter::write_manifest(const snapshot::Manifest& manifest) {
  const std::string bytes = encode_manifest(manifest);
  const base::UniqueFd fd = create_file(directory_fd(), manifest_name);
  write_all(fd.get(), 0, std::as_bytes(std::span(bytes.data(), bytes.size())));
  reached(CommitStep::manifest_written);
  sync(fd.get());
  reached(CommitStep::manifest_synced);
}

// A generation that exists is not empty, and so is not replaced: rename(2), ENOTEMPTY.
void ImageWriter::make_visible() {
  const fs::path path = store_.path_of(generation_);
  if (::rename(partial_.c_str(), path.c_str()) == 0) {
    visible_ = true;
    return;
  }
  if (errno == ENOTEMPTY || errno == EEXIST) {
    throw base::Error(base::ErrorCode::conflict,
                      fmt::format("{} was written by somebody else meanwhile", path.native()),
                      "checkpoint again");
  }
  throw_write_error(errno, fmt::format("making the image {} visible", path.native()));
}

fs::path ImageWriter::commit(snapshot::Manifest manifest) {
  const FileSizeSignalGuard guard;
  sync_files(0);
  reached(CommitStep::files_synced);
  sync(directory_fd());
  reached(CommitStep::directory_synced);

  manifest.set_format_version(format_version);
  manifest.set_name(store_.name());
  manifest.set_generation(generation_);
  manifest.mutable_files()->Assign(files_.begin(), files_.end());
  write_manifest(manifest);
  sync(directory_fd());
  reached(CommitStep::directory_synced_again);

  make_visible();
  reached(CommitStep::renamed);
  lock_->share();
  try {
    sync(open_directory(store_.path()).get());
  } catch (const base::Error& error) {
    throw base::Error(error.code(),
                      fmt::format("the image {} is complete, but might not outlive a crash of the "
                                  "system: {}",
                                  store_.path_of(generation_).native(), error.what()),
                      error.remedy());
  }
  reached(CommitStep::done);
  return store_.path_of(generation_);
}

}  // namespace torpor::image
