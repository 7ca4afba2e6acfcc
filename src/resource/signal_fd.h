// signalfd(2): reads the pending signals of whoever reads it. The signals are the processes', so
// the descriptor itself holds only the mask.
#pragma once

#include <cstdint>
#include <memory>

#include "base/unique_fd.h"

namespace torpor::resource {

class FileKind;

std::unique_ptr<FileKind> make_signal_fd_kind();

// A new signalfd for the signals of `mask` (bit n-1 is signal n), close-on-exec. Throws Error.
base::UniqueFd make_signal_fd(std::uint64_t mask);

}  // namespace torpor::resource
