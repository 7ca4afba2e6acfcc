// By which ids a program knows its processes, where these are not those of a pid namespace.
#pragma once

#include <sys/types.h>

namespace torpor::process {

class IdView {
 public:
  virtual ~IdView() = default;
  // Of a process, thread, group or session; `ours`: its id in our own pid namespace.
  [[nodiscard]] virtual pid_t seen(pid_t ours) const = 0;

 protected:
  IdView() = default;
  IdView(const IdView&) = default;
  IdView& operator=(const IdView&) = default;
};

}  // namespace torpor::process
