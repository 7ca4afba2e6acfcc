#include "process/kcmp.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

namespace torpor::process {
namespace {

int compare(pid_t a, pid_t b, int type, unsigned long x, unsigned long y) {
  const long order = ::syscall(SYS_kcmp, a, b, type, x, y);
  if (order < 0) base::throw_system("cannot compare resources of processes {} and {}", a, b);
  constexpr long kLess = 1;  // 0 equal, 1 less, 2 greater
  return order == 0 ? 0 : (order == kLess ? -1 : 1);
}

}  // namespace

bool is_kcmp_allowed() { return ::syscall(SYS_kcmp, ::getpid(), ::getpid(), KCMP_VM, 0, 0) == 0; }

int compare_files(pid_t a, int fd_a, pid_t b, int fd_b) {
  return compare(a, b, KCMP_FILE, static_cast<unsigned long>(fd_a),
                 static_cast<unsigned long>(fd_b));
}

bool share_memory(pid_t a, pid_t b) { return compare(a, b, KCMP_VM, 0, 0) == 0; }
bool share_descriptors(pid_t a, pid_t b) { return compare(a, b, KCMP_FILES, 0, 0) == 0; }
bool share_directories(pid_t a, pid_t b) { return compare(a, b, KCMP_FS, 0, 0) == 0; }
bool share_actions(pid_t a, pid_t b) { return compare(a, b, KCMP_SIGHAND, 0, 0) == 0; }

bool is_epoll_target(pid_t pid, int fd, pid_t epoll_pid, int epoll_fd, int watched_fd,
                     unsigned offset) {
  kcmp_epoll_slot slot{};
  slot.efd = static_cast<__u32>(epoll_fd);
  slot.tfd = static_cast<__u32>(watched_fd);
  slot.toff = offset;
  const long order =
      ::syscall(SYS_kcmp, pid, epoll_pid, KCMP_EPOLL_TFD, static_cast<unsigned long>(fd), &slot);
  return order == 0;
}

}  // namespace torpor::process
