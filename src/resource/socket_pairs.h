// Makes pairs of UNIX sockets again: the restart's half of unix_socket.h.
#pragma once

#include "base/unique_fd.h"
#include "proto/snapshot.pb.h"
#include "resource/unix_socket.h"

namespace torpor::resource {

// Throws Error bad_image if there is no such pair, or none that could be made.
const snapshot::SocketPair& socket_pair(std::uint64_t id, const RestoreState& state);

// One side of a pair, which is made when the first of its sides is asked for; still empty. Throws
// Error; bad_image if the record contradicts itself.
base::UniqueFd make_socket(const snapshot::SocketEnd& end, RestoreState& state);

}  // namespace torpor::resource
