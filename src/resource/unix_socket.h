// unix(7): pairs of connected sockets, as socketpair(2) or connect(2) and accept(2) make them.
//
// Both sides must belong to the computation, or one of them be closed. What is on its way from one
// to the other is saved, with descriptors in flight. Refused by name: connections that
// are not accepted yet, connected datagram sockets with a name, and what cannot be sent again as it
// was (credentials in flight, out-of-band data).
//
// They are made inside the process that SO_PEERCRED shows, or in the first if that is gone.
#pragma once

#include <memory>

#include "base/unique_fd.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

class FileKind;
struct CaptureState;
struct FileView;
struct RestoreState;
struct UnixSocket;

std::unique_ptr<FileKind> make_unix_socket_kind();

// Name, maker, options and shutdowns of a socket, which is returned as a descriptor of ours. Throws
// Error; refused for options that are not saved.
base::UniqueFd capture_socket(const FileView& view, const UnixSocket& socket, CaptureState& state,
                              snapshot::SocketSide& side);

// Puts back what was in flight in all pairs, their options and shutdowns, and closes the sides that
// were closed. Called with the first socket that is finished; every open file is there then. Does
// nothing when called again. Throws Error.
void finish_socket_pairs(RestoreState& state);

}  // namespace torpor::resource
