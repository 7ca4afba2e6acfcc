// Which file an item of an epoll set watches.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace torpor::resource {

struct CaptureState;
struct FileView;
struct Holder;

// As the kernel itself writes device numbers, see process::EpollItem::sdev.
std::uint32_t kernel_device(dev_t device);

// A descriptor that is open on what item `index` of the epoll set `view` watches, wherever it is
// among state.holders. Empty if there is none. By kcmp(2), Linux 4.13. Without it the set is asked
// to take the candidate under the same number once more, which it does not if it has it; if it does
// it is taken out again at once, the only moment in which a set is changed. Everything is stopped.
std::optional<Holder> find_watched(const FileView& view, std::size_t index,
                                   const CaptureState& state);

// The same question in a dry pass: without kcmp(2) any descriptor of the same file will do.
bool seems_to_be_held(const FileView& view, std::size_t index, const CaptureState& state);

}  // namespace torpor::resource
