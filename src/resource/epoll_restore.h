// Puts the items back into epoll sets. An item's key holds the number under which its file was
// added, so the file must be open at that number in whoever adds it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

struct RestoreState;

// One-shot, and reported: it sleeps until EPOLL_CTL_MOD.
bool is_disarmed(std::uint32_t events);

struct WatchedItem {
  snapshot::EpollItem item;
  int target = -1;  // the watched description as a descriptor of ours, of any number
};

// Adds items to a set. Both are ours; the items get the recorded numbers although these mean
// something else in this process. No other item of the set may be ready. A disarmed item is made by
// letting it report once; the numbers of those whose file has nothing to report are returned: they
// sleep like the others, but would report an error or a hang-up. Throws Error.
std::vector<int> add_items(int epoll_fd, std::span<const WatchedItem> items);

// All items of the set `file`, which is descriptor `fd` of `holder`; every open file is in
// state.open_files. Signalfds are added by the holder itself: the kernel wakes the watchers of the
// process that added one, when that process gets a signal. Throws Error.
void fill_epoll_set(const snapshot::OpenFile& file, RestoreState& state,
                    process::HeldProcess& holder, int fd);

}  // namespace torpor::resource
