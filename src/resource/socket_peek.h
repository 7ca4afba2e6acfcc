// One look at the queue of a socket, MSG_PEEK.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace torpor::resource {

struct Peeked {
  bool nothing = false;  // the queue has ended there
  std::string data;
  std::size_t length = 0;  // of the datagram; more than `data` if there was no room for all
  std::vector<base::UniqueFd> descriptors;
  std::optional<ucred> credentials;  // of the sender, pid 0: it gave none; only with SO_PASSCRED
};

// Where looks start: SO_PEEK_OFF of a socket, which each look moves on. -1 (the socket's usual
// state) when it is destroyed.
class PeekPosition {
 public:
  explicit PeekPosition(int socket) : socket_(socket) {}
  PeekPosition(const PeekPosition&) = delete;
  PeekPosition& operator=(const PeekPosition&) = delete;
  ~PeekPosition();
  // In bytes from the start of the queue. Throws Error.
  void set(std::size_t position);

 private:
  int socket_;
};

// At most `room` bytes of what waits; of a stream all up to and including the first piece that
// carries descriptors. Throws Error, also if we may not open as many descriptors.
Peeked peek(int socket, std::size_t room);

// Of a stream: how much of what a look has shown, `length` bytes, comes before the last piece of it
// (what one call has sent). Throws Error.
std::size_t length_before_last_piece(int socket, std::size_t length);

}  // namespace torpor::resource
