// Content that must not change any more, although the program goes on.
#pragma once

#include <cstdint>

#include "base/unique_fd.h"
#include "resource/file_kind.h"

namespace torpor::resource {

// A description of the view's file that is ours alone, for reading. Where the file's mode does not
// allow us another one, the program's own: its position must not be moved then. Throws Error
// refused if it is open for writing only as well.
base::UniqueFd open_for_reading(const FileView& view);

// Could open_for_reading() do it?
bool can_be_read(const FileView& view);

// A memfd with the first `size` bytes of `fd`, holes left out. The position of `fd` is moved only
// if `own`: it is no description of the program. Throws Error io.
base::UniqueFd private_copy(int fd, bool own, std::uint64_t size);

// The content of the view's file for CaptureState::contents: a private copy, or, if it is
// `immutable`, the file itself.
base::UniqueFd frozen_content(const FileView& view, bool immutable);

}  // namespace torpor::resource
