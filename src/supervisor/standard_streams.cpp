#include "supervisor/standard_streams.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.h"

namespace torpor::supervisor {
namespace {

void add(OutsideStreams& streams, unsigned number, const struct stat& facts) {
  streams.push_back({.stream = number, .device = facts.st_dev, .inode = facts.st_ino});
}

}  // namespace

void hold_standard_streams() {
  int fd = 0;
  do {
    fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  } while (fd >= 0 && fd < 3);
  if (fd < 0) base::throw_system("cannot open /dev/null");
  ::close(fd);
}

OutsideStreams outside_streams(const std::array<int, 3>& fds) {
  OutsideStreams streams;
  for (unsigned i = 0; i < fds.size(); ++i) {
    struct stat facts {};
    const bool placeholder = (::fcntl(fds[i], F_GETFD) & FD_CLOEXEC) != 0 && fds[i] < 3;
    if (!placeholder && ::fstat(fds[i], &facts) == 0) add(streams, i, facts);
  }
  return streams;
}

OutsideStreams outside_streams_of(pid_t pid) {
  OutsideStreams streams;
  for (unsigned i = 0; i < 3; ++i) {
    struct stat facts {};
    if (::stat(fmt::format("/proc/{}/fd/{}", pid, i).c_str(), &facts) == 0) add(streams, i, facts);
  }
  return streams;
}

std::array<int, 3> streams_for_program(const UserTerminal* terminal, int slave) {
  std::array<int, 3> streams{0, 1, 2};
  for (std::size_t i = 0; terminal != nullptr && i < 3; ++i) {
    if (terminal->streams()[i]) streams[i] = slave;
  }
  return streams;
}

}  // namespace torpor::supervisor
