// Makes UNIX sockets inside a process of the computation, where they belong to its network
// namespace, and SO_PEERCRED shows it as their maker.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "resource/file_kind.h"

namespace torpor::resource {

class SocketMaker {
 public:
  // In the process that the program knows by `pid`; else in the first, if that is not there; else
  // here, if none is there. The state must outlive it.
  SocketMaker(const RestoreState& state, pid_t pid);

  // The pid of that process in our own pid namespace.
  [[nodiscard]] pid_t pid() const;

  // Sockets of ours, close-on-exec and non-blocking. Throws Error.
  [[nodiscard]] base::UniqueFd make(int type) const;
  [[nodiscard]] std::pair<base::UniqueFd, base::UniqueFd> make_pair(int type) const;

  // For a socket of ours; 0 or -errno. A name is a path, or begins with a zero (abstract).
  [[nodiscard]] int bind(int socket, const std::string& name) const;
  [[nodiscard]] int connect(int socket, const std::string& name) const;
  [[nodiscard]] int listen(int socket, int backlog) const;
  // 0 or -errno.
  [[nodiscard]] int unlink(const std::string& path) const;
  [[nodiscard]] int chmod(const std::string& path, mode_t mode) const;
  [[nodiscard]] int chown(const std::string& path, uid_t uid, gid_t gid) const;

 private:
  // Adds a call on the number that the socket has inside.
  using AddCall = std::function<std::size_t(process::Batch&, int)>;
  [[nodiscard]] int on_socket(int socket, const AddCall& add) const;
  [[nodiscard]] int with_name(long number, int socket, const std::string& name) const;
  [[nodiscard]] int with_path(long number, const std::string& path, std::uint64_t second,
                              std::uint64_t third) const;

  process::HeldProcess* held_ = nullptr;
};

}  // namespace torpor::resource
