// unix(7): sockets that are connected with nothing: new, bound or listening ones.
//
// A listening socket comes back under its name, and whoever connects after the restart is accepted
// by the program. Refused by name: connections that wait to be accepted, datagrams that wait in a
// socket that is not connected (their senders' names could not be given back), and relative paths,
// of which nobody knows any more where they began.
#pragma once

#include <memory>

#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_lone_socket_kind();

}  // namespace torpor::resource
