// SCM_RIGHTS in both directions, here and as data for a remote system call (unix(7)).
#pragma once

#include <functional>
#include <span>

#include "base/remote_ptr.h"
#include "base/unique_fd.h"

namespace torpor::process {

class Batch;

// A struct msghdr in the batch's data that sends descriptor `fd` of the process.
base::RemotePtr remote_sender(Batch& batch, int fd);

// A struct msghdr in the batch's data that receives up to `count` descriptors (at most 253).
struct RemoteReceiver {
  base::RemotePtr header;
  base::RemotePtr descriptor;  // where their numbers (int) stand afterwards
};
RemoteReceiver remote_receiver(Batch& batch, std::size_t count = 1);

// Throws Error io.
void send_descriptor(int socket, int fd);
void send_descriptors(int socket, std::span<const int> fds);

// Waits for one message; invalid if it carries no descriptor. `idle` is called now and then.
base::UniqueFd receive_descriptor(int socket, const std::function<void()>& idle = {});

// Turns on that messages carry the sender's pid (SO_PASSCRED).
void pass_credentials(int socket);
// One message and the pid of its sender, in our pid namespace. Throws Error program_gone on end of
// file, timeout after `milliseconds`.
pid_t receive_with_pid(int socket, void* into, std::size_t bytes, int milliseconds);

}  // namespace torpor::process
