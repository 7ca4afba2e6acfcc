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

namespace torpor::resource {

class FileKind;
struct RestoreState;

std::unique_ptr<FileKind> make_unix_socket_kind();

// Puts back what was in flight in all pairs, their options and shutdowns, and closes the sides that
// were closed. Called with the first socket that is finished; every open file is there then. Does
// nothing when called again. Throws Error.
void finish_socket_pairs(RestoreState& state);

}  // namespace torpor::resource
