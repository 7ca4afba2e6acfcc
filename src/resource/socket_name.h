// The names of UNIX sockets: paths and abstract names, unix(7).
//
// Several sockets show one name: a listening one and all that were accepted from it. A path may
// lead to its socket, or to something else since, or nowhere.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "resource/file_kind.h"
#include "resource/unix_socket_table.h"

namespace torpor::resource {

// ---- checkpoint

// Whether the name is one that cannot be given back.
std::optional<Refusal> check_socket_name(const UnixSocket& socket);

// The id of the socket's name in the model's table, where it is entered if it is new; 0 if the
// socket has none. `own` is the socket. Throws Error.
std::uint64_t enter_socket_name(int own, const FileView& view, const UnixSocket& socket,
                                CaptureState& state);

// The pid, as the program sees it, that SO_PEERCRED shows of the socket; 0: none of it.
pid_t maker_of(int own, const CaptureState& state);

// ---- restart

// Throws Error bad_image if there is no such name. `id` is not 0.
const snapshot::SocketName& socket_name(std::uint64_t id, const RestoreState& state);

// Whether a socket of this type could be bound to the name on this host now. A socket file that
// nobody is bound to any more is no obstacle. 0 is no name.
std::optional<Refusal> check_name_is_free(std::uint64_t id, int type, const RestoreState& state);

// For messages: an abstract name with @ at its beginning.
std::string shown_name(const snapshot::SocketName& name);

inline bool is_path(const snapshot::SocketName& name) { return name.name().starts_with('/'); }

}  // namespace torpor::resource
