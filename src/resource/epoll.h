// epoll(7): a set of watched descriptions.
//
// An item's key is (description, number under which it was added); the number may have been closed
// or reused since, while the description lives on under another (epoll_watched.h).
//
// Level-triggered readiness comes back by itself. Of an edge-triggered item whose file is ready we
// find out whether that has been reported (epoll_reported.h); where that cannot be done it is
// reported after the restart once more: a spurious event, which programs must expect of
// edge-triggered sets, never a lost one.
#pragma once

#include <memory>

namespace torpor::resource {

class FileKind;

std::unique_ptr<FileKind> make_epoll_kind();

}  // namespace torpor::resource
