// Do two descriptors of ours refer to the same open file description? For hosts without kcmp(2).
#pragma once

namespace torpor::process {

enum class SameBy {
  automatic,
  query,  // fcntl(F_DUPFD_QUERY), Linux 6.10
  epoll,  // an epoll set takes each description under one number once only; changes nothing
  // The signal of F_SETSIG belongs to the description: one is changed for the moment of a look at
  // the other. For regular files and directories, which epoll does not take. Two descriptions that
  // were opened with O_PATH are never the same: nobody could tell.
  signal,
};

// Throws Error host_lacks if the kernel does not know the way that is asked for, or if it does not
// suit such files.
bool is_same_description(int a, int b, SameBy way = SameBy::automatic);

}  // namespace torpor::process
