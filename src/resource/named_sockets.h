// UNIX sockets with names at a restart: listening ones, other bound ones, and connections that were
// made through a name.
#pragma once

#include "resource/file_kind.h"

namespace torpor::resource {

// Makes all of them: into state.lone_sockets those that are not connected, into state.socket_pairs
// the connections, still empty. Does nothing when called again. A connection whose listening socket
// is gone is made through another one, which goes again. Until that of the program is bound, what
// connects from outside gets ECONNREFUSED; then it waits to be accepted by the program. Throws
// Error.
void make_named_sockets(RestoreState& state);

}  // namespace torpor::resource
