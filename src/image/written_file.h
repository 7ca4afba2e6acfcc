// What all writers of an image's files share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "base/unique_fd.h"
#include "proto/snapshot.pb.h"

namespace torpor::image {

// A file that is complete but not yet known to be on disk: ImageWriter::add takes it.
struct WrittenFile {
  snapshot::ImageFile description;
  base::UniqueFd fd;  // writable
};

struct WriteOptions {
  unsigned workers =
      0;  // threads that read, check and write; 0: as many as there are CPUs, at most 4
  // Write around the page cache where the file system can do it. Faster than the cache, and leaves
  // the program's own files in it.
  bool direct = true;
  // For tests: called before each write, returns the errno with which it is to fail, or 0.
  std::function<int(std::uint64_t offset, std::size_t size)> fault;
};

}  // namespace torpor::image
