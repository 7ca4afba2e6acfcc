// The last resort: what cannot be saved is refused by name.
#pragma once

#include <memory>

#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_unsupported_kind();

}  // namespace torpor::resource
