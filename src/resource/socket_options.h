// The options of a UNIX socket that a program can have set: socket(7), unix(7).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "proto/snapshot.pb.h"
#include "resource/file_kind.h"

namespace torpor::resource {

// Whether an option has been set that is not saved, by name.
std::optional<Refusal> check_socket_options(int socket);

// Buffers, timeouts, SO_PASSCRED. Throws Error.
void read_socket_options(int socket, snapshot::SocketSide& side);

// Gives them to a new socket. A buffer size that this user may not have is said in `warnings`.
void set_socket_options(int socket, const snapshot::SocketSide& side,
                        std::vector<std::string>& warnings);

// shutdown(2), as far as it has been. Throws Error.
void shut_down(int socket, const snapshot::SocketSide& side);

}  // namespace torpor::resource
