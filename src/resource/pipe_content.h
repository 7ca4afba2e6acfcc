// What waits in a pipe: looked at without taking it out, and put in again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace torpor::resource {

struct PipeContent {
  std::string bytes;
  // The lengths of the packets that it consists of (pipe(2), O_DIRECT); empty: it is a stream.
  std::vector<std::uint32_t> packets;
};

// `pipe`: either end, ours; nobody may read or write meanwhile. Nothing is consumed (tee(2)).
// `packets`: writes are packets. Without a writer left that could tell, the content itself is
// asked. Throws Error io, permission (only the write end is held, and the pipe is another user's).
PipeContent look_into_pipe(int pipe, bool packets);

// Writes it into an empty pipe through its write end, whose flags are as before afterwards. Throws
// Error io if the pipe does not take all of it.
void fill_pipe(int write_end, const PipeContent& content);

// Bytes that wait in it: FIONREAD. Throws Error io.
std::uint32_t bytes_in_pipe(int pipe);

// F_GETPIPE_SZ; Linux 2.6.35. Throws Error io.
std::uint32_t pipe_capacity(int pipe);

// Sets it; false if this user may not have so much (/proc/sys/fs/pipe-max-size and
// pipe-user-pages-soft, pipe(7)). Throws Error io.
bool set_pipe_capacity(int pipe, std::uint32_t bytes);

}  // namespace torpor::resource
