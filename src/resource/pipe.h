// Pipes and FIFOs, with what waits in them.
#pragma once

#include <memory>

#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_pipe_kind();

}  // namespace torpor::resource
