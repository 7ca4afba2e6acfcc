// What waits to be read at a UNIX socket: looked at without taking it out, and put back.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "proto/snapshot.pb.h"

namespace torpor::resource {

// The id of the open file behind a descriptor of ours, which is closed afterwards.
using IdentifyFile = std::function<std::uint64_t(int)>;
// The pid by which the program knows a process of it that we know by this one; 0: none of it.
using SeenPid = std::function<pid_t(pid_t)>;
// A descriptor of ours for the open file with this id.
using FindFile = std::function<int(std::uint64_t)>;
// Sends a piece of a message, as its sender: a number of bytes or -errno.
using SendAs = std::function<std::int64_t(const snapshot::SenderCredentials&, std::string_view data,
                                          std::span<const int> descriptors)>;

// The messages in the queue of `socket`, in order. Of a stream: pieces of data, each of which but
// the first starts with descriptors. Nobody reads or writes the socket meanwhile. SO_PEEK_OFF is
// used, and -1 afterwards. `ended`: nothing can be added to the queue any more.
//
// An empty datagram that has been looked at once cannot be looked at again (the kernel passes over
// it, net/core/datagram.c), see queue_memory().
// Credentials of senders are seen only where the program has asked for them (SO_PASSCRED).
// Throws Error: refused for out-of-band data and for credentials of a process that is not `seen`.
std::vector<snapshot::SocketMessage> read_queue(int socket, int type, bool ended,
                                                const IdentifyFile& identify, const SeenPid& seen);

// How the kernel accounts for these messages at the sender (SIOCOUTQ) if they are datagrams: when
// more is there than read_queue() has found, empty ones hide among them. Throws Error.
std::uint64_t queue_memory(int type, std::span<const snapshot::SocketMessage> messages);

// Writes messages to a connected socket, so that they wait at the other side. The send buffer is
// made larger if they do not fit. `send_as` is needed if there are credentials. Throws Error.
void fill_queue(int sender, int type, std::span<const snapshot::SocketMessage* const> messages,
                const FindFile& find, const SendAs& send_as = {});

// Sets SO_SNDBUF or SO_RCVBUF to what getsockopt(2) is to show, beyond the user's limit if we may.
// False if it could not be reached.
bool set_buffer_size(int socket, int option, std::uint32_t bytes);

}  // namespace torpor::resource
