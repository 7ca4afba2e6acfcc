// The check of a content file (raw_writer.h): its extents fit their checksums, all else is zeros.
#pragma once

#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <string>

#include "base/progress.h"
#include "proto/snapshot.pb.h"

namespace torpor::image {

// `extents`: checked by Image::content. `name` is the file's. Throws Error bad_image with the
// offset, Cancelled.
void check_content(int fd, std::uint64_t size,
                   const google::protobuf::RepeatedPtrField<snapshot::Extent>& extents,
                   const std::string& name, base::Progress& progress, unsigned workers);

}  // namespace torpor::image
