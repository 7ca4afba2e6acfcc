#include "process/raw_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "base/unique_fd.h"

namespace torpor::process {

pid_t fork_sibling() {
  return static_cast<pid_t>(::syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0));
}

int execute_descriptor(int fd, const char* const* arguments) {
  const std::array<const char*, 1> environment{nullptr};
  return static_cast<int>(
      ::syscall(SYS_execveat, fd, "", arguments, environment.data(), AT_EMPTY_PATH));
}

void close_on_exec_from(int first) {
  ::syscall(SYS_close_range, static_cast<unsigned>(first), ~0U, CLOSE_RANGE_CLOEXEC);
}

int take_descriptor(pid_t pid, int fd) { return take_descriptor_of_thread(pid, pid, fd); }

int take_descriptor_of_thread(pid_t pid, pid_t tid, int fd) {
  constexpr unsigned kThread = O_EXCL;  // PIDFD_THREAD
  base::UniqueFd process(
      static_cast<int>(::syscall(SYS_pidfd_open, tid, pid == tid ? 0 : kThread)));
  if (!process) process.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return -1;
  return static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), fd, 0));
}

int queue_signal(pid_t pid, siginfo_t& info) {
  return static_cast<int>(::syscall(SYS_rt_sigqueueinfo, pid, info.si_signo, &info));
}

int queue_signal_to_thread(pid_t pid, pid_t tid, siginfo_t& info) {
  return static_cast<int>(::syscall(SYS_rt_tgsigqueueinfo, pid, tid, info.si_signo, &info));
}

int get_capabilities(__user_cap_header_struct* header, __user_cap_data_struct* data) {
  return static_cast<int>(::syscall(SYS_capget, header, data));
}

int set_capabilities(__user_cap_header_struct* header, const __user_cap_data_struct* data) {
  return static_cast<int>(::syscall(SYS_capset, header, data));
}

}  // namespace torpor::process
