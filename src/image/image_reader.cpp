#include "image/image_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "image/area_rules.h"
#include "image/checksum.h"
#include "image/file_io.h"
#include "image/manifest_io.h"

namespace torpor::image {

using snapshot::ImageFile;
using snapshot::Process;

namespace {

using Extents = google::protobuf::RepeatedPtrField<snapshot::Extent>;

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name != manifest_name &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

// Sorted by start, not overlapping, page-aligned.
void check_areas(const Process& process, const std::string& manifest) {
  std::uint64_t previous_end = 0;
  for (const snapshot::Area& area : process.areas()) {
    const bool aligned = (area.start() | area.end()) % base::page_size == 0;
    if (!aligned || area.start() < previous_end || area.end() <= area.start()) {
      throw_bad_image(manifest, fmt::format("the areas of process {} are not in order at {:#x}",
                                            process.pid(), area.start()));
    }
    previous_end = area.end();
  }
}

// Both are sorted.
void check_within_areas(const std::vector<PageExtent>& extents, const Process& process,
                        const std::string& name) {
  auto area = process.areas().begin();
  for (const PageExtent& extent : extents) {
    while (area != process.areas().end() && area->end() <= extent.vaddr) ++area;
    const bool within = area != process.areas().end() && area->start() <= extent.vaddr &&
                        extent.end() <= area->end() && belongs_into_core(*area);
    if (!within) {
      throw_bad_image(name, fmt::format("pages at {:#x} lie in no area of process {} that could "
                                        "have them",
                                        extent.vaddr, process.pid()));
    }
  }
}

void check_extents(const Extents& extents, std::uint64_t size, const std::string& name) {
  std::uint64_t previous_end = 0;
  for (const snapshot::Extent& extent : extents) {
    const bool fits = extent.offset() >= previous_end && extent.size() > 0 &&
                      extent.offset() <= size && extent.size() <= size - extent.offset() &&
                      extent.size() <= std::uint64_t{max_extent_pages} * base::page_size;
    if (!fits) {
      throw_bad_image(name, fmt::format("the extent at {} is impossible", extent.offset()));
    }
    previous_end = extent.offset() + extent.size();
  }
}

}  // namespace

Image::Image(std::filesystem::path path, DirectoryLock lock, snapshot::Manifest manifest)
    : path_(std::move(path)), lock_(std::move(lock)), manifest_(std::move(manifest)) {}

Image Image::open(const std::filesystem::path& path) {
  DirectoryLock lock = DirectoryLock::shared(path);
  snapshot::Manifest manifest = read_manifest_at(lock.directory_fd(), path);
  Image image(path, std::move(lock), std::move(manifest));
  image.check_files();
  return image;
}

void Image::check_files() const {
  const std::string manifest = path_ / manifest_name;
  std::set<std::string> names;
  for (const ImageFile& file : manifest_.files()) {
    if (!is_plain_name(file.name()) || !names.insert(file.name()).second ||
        file.checked_from() > file.size()) {
      throw_bad_image(manifest,
                      fmt::format("the entry of the file \"{}\" is impossible", file.name()));
    }
    struct stat status {};
    const std::string name = path_ / file.name();
    if (::fstatat(directory_fd(), file.name().c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) throw_bad_image(name, "missing");
      base::throw_system("looking at {}", name);
    }
    if (!S_ISREG(status.st_mode)) throw_bad_image(name, "not a regular file");
    if (static_cast<std::uint64_t>(status.st_size) != file.size()) {
      throw_bad_image(name, fmt::format("truncated or grown: {} bytes instead of {}",
                                        status.st_size, file.size()));
    }
  }
  for (const Process& process : manifest_.computation().processes()) check_areas(process, manifest);
}

const ImageFile& Image::file(const std::string& name) const {
  const auto& files = manifest_.files();
  const auto found = std::ranges::find(files, name, [](const ImageFile& f) { return f.name(); });
  if (found == files.end()) {
    throw_bad_image(path_ / manifest_name, fmt::format("names no file \"{}\"", name));
  }
  return *found;
}

base::UniqueFd Image::open_file(const std::string& name) const {
  const ImageFile& expected = file(name);
  base::UniqueFd fd(
      ::openat(directory_fd(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  const std::string path = path_ / name;
  if (!fd) base::throw_system("opening {}", path);
  if (size_of(fd.get()) != expected.size()) throw_bad_image(path, "its size has changed");
  return fd;
}

ExtentTable Image::extents(const Process& process) const {
  if (process.memory_file().empty()) return {};
  const std::string path = path_ / process.extents_file();
  const base::UniqueFd fd = open_file(process.extents_file());
  const std::vector<std::byte> bytes = read_whole(fd.get(), path);
  if (checksum(bytes) != file(process.extents_file()).checksum()) {
    throw_bad_image(path, "damaged: its checksum does not fit");
  }
  ExtentTable table = decode_extents(bytes, file(process.memory_file()).checked_from(), path);
  check_within_areas(table.extents, process, path);
  return table;
}

base::UniqueFd Image::core(const Process& process) const {
  return open_file(process.memory_file());
}

base::UniqueFd Image::open_content(const std::string& name, std::uint64_t size,
                                   const Extents& extents) const {
  base::UniqueFd fd = open_file(name);
  if (file(name).size() != size) {
    throw_bad_image(path_ / name, fmt::format("{} bytes instead of {}", file(name).size(), size));
  }
  check_extents(extents, size, path_ / name);
  return fd;
}

base::UniqueFd Image::content(const snapshot::SharedMemory& memory) const {
  return open_content(memory.content_file(), memory.size(), memory.extents());
}

base::UniqueFd Image::content(const snapshot::SavedFile& saved) const {
  return open_content(saved.content_file(), saved.size(), saved.extents());
}

}  // namespace torpor::image
