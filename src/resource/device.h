// Character devices that mean the same everywhere: /dev/null, zero, full, random, urandom.
#pragma once

#include <memory>

#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_device_kind();

}  // namespace torpor::resource
