// Files that have a path: opened again by it. What if they have changed since is said in
// docs/decisions/0003-changed-files.md.
#pragma once

#include <memory>
#include <optional>

#include "proto/snapshot.pb.h"
#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_regular_file_kind();

// Cuts the files that the computation was writing, and that have grown since, back to their size at
// the checkpoint; what is cut off is kept in a file under state.tails. Nothing has been cut before
// this is called: it is the last step before the processes are released. A warning names each cut
// and where the rest is. Throws Error io; files already cut then stay so, their ends are kept.
void cut_grown_files(RestoreState& state);

}  // namespace torpor::resource
