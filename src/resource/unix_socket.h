// unix(7): pairs of connected sockets without a name, as socketpair(2) makes them.
//
// Both sides must belong to the computation, or one of them be closed. What is on its way from one
// to the other is saved, with descriptors in flight. Refused by name: sockets with a name or
// connected to one, listening and unconnected ones, and what cannot be sent again as it was
// (credentials in flight, out-of-band data).
//
// The pairs are made inside the first process, so that they belong to its network namespace; with
// SO_PEERCRED all show that process.
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
