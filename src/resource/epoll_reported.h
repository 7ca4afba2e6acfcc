// Which edge-triggered items of an epoll set have already been reported: what is ready in them is
// not to be told once more after a restart.
#pragma once

#include "proto/snapshot.pb.h"
#include "resource/file_kind.h"

namespace torpor::resource {

// Sets EpollItem::reported. Everything is stopped, and the items know their open files. An item
// that cannot be found out stays as it is: it will be reported once more, which programs must
// expect.
//
// The kernel tells only by reporting. That nothing at all is to be reported can be learned without
// harm. Else everything is reported to the agent, and what is gone by that (edge-triggered and
// one-shot items) is armed again; the agent does so by itself if we are killed.
void find_reported(const FileView& view, CaptureState& state, snapshot::OpenFile& file);

}  // namespace torpor::resource
