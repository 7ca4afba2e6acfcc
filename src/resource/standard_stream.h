// Pipes and sockets that lead outside of the computation, as the launcher gave them to the program:
// the restarter's own streams are put in their place.
#pragma once

#include <memory>
#include <span>

#include "process/held_process.h"
#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_standard_stream_kind();

// Which of the outside streams a descriptor is, if any. Files are none, though the launcher may
// have given them: a program whose output went to a file goes on writing to that file.
std::optional<unsigned> outside_stream(const FileView& view, const CaptureState& state);

// Descriptors 0, 1 and 2 of the root that lead outside: what stands for CaptureState::outside
// where nobody launched the program. state.holders must be complete.
std::vector<OutsideStream> streams_that_lead_outside(std::span<const FileView> root_streams,
                                                     const CaptureState& state);

// The restarter's stream in place of the saved one: a descriptor of the same description, or of one
// that differs in O_NONBLOCK as the program wants it.
base::UniqueFd duplicate_stream(const snapshot::OpenFile& file, RestoreState& state);
std::optional<Refusal> check_stream(const snapshot::OpenFile& file, const RestoreState& state);

}  // namespace torpor::resource
