// Open directories.
#pragma once

#include <memory>

#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_directory_kind();

}  // namespace torpor::resource
