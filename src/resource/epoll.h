// epoll(7): a set of watched descriptions.
//
// An item's key is (description, number under which it was added); the number may have been closed
// or reused since, while the description lives on under another. The kernel shows the numbers and,
// through kcmp(2), lets us compare each item's description with those of open descriptors.
//
// Level-triggered readiness comes back by itself. Of an edge-triggered item whose file is ready we
// find out whether that has been reported (epoll_reported.h); where that cannot be done it is
// reported after the restart once more: a spurious event, which programs must expect of
// edge-triggered sets, never a lost one.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

namespace torpor::resource {

class FileKind;
struct FileView;
struct Holder;

std::unique_ptr<FileKind> make_epoll_kind();

// A descriptor that is open on what item `index` of the epoll set `view` watches, wherever it is
// among `holders`. Empty if there is none. kcmp(2), Linux 4.13.
std::optional<Holder> find_watched(const FileView& view, std::size_t index,
                                   std::span<const Holder> holders);

}  // namespace torpor::resource
