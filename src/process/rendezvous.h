// Where an agent comes to that cannot be fetched: a socket that listens at an address of its own.
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include <functional>

#include "base/unique_fd.h"

namespace torpor::process {

class Rendezvous {
 public:
  // At an abstract address that the kernel chooses, in our network namespace. Throws Error.
  Rendezvous();

  [[nodiscard]] const sockaddr_un& address() const { return address_; }
  [[nodiscard]] socklen_t address_bytes() const { return address_bytes_; }

  // The first that process `pid` makes; who else comes is sent away. `idle` is called now and then,
  // and may throw. Throws Error timeout after `milliseconds`.
  base::UniqueFd accept_from(pid_t pid, int milliseconds, const std::function<void()>& idle);

 private:
  base::UniqueFd listener_;
  sockaddr_un address_{};
  socklen_t address_bytes_ = sizeof(address_);
};

}  // namespace torpor::process
