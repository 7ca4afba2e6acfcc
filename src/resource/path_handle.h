// Descriptors that only name a file (O_PATH, open(2)): directories are among directory.h's.
#pragma once

#include <memory>

#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_path_handle_kind();

}  // namespace torpor::resource
