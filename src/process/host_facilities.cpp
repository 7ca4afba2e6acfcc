#include "process/host_facilities.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "base/unique_fd.h"
#include "process/host_probe.h"
#include "process/raw_process.h"

namespace torpor::process {
namespace {

using Attempt = int (*)();  // 0, or an errno

int error_of(std::int64_t result) { return result < 0 ? errno : 0; }

// What the attempt comes to in a child of ours, which ends with it.
int in_child(Attempt attempt) {
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) ::_exit(attempt());
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return errno;
  return WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;  // killed by a filter
}

// The same with a child that waits as its object.
int with_child(int (*attempt)(pid_t)) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) wait_to_be_killed(parent);
  const int error = attempt(child);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return error;
}

int read_memory(pid_t child) {
  static char there = 0;
  char here = 0;
  const iovec to{&here, 1};
  const iovec from{&there, 1};
  return error_of(::process_vm_readv(child, &to, 1, &from, 1, 0));
}

// A number that it does not have: that it has none is told only to those who may ask.
int take_descriptor_of(pid_t child) {
  constexpr int kNone = 1 << 30;
  return take_descriptor(child, kNone) < 0 && errno != EBADF ? errno : 0;
}

int compare(pid_t child) { return error_of(::syscall(SYS_kcmp, ::getpid(), child, KCMP_VM, 0, 0)); }

int clone_with(clone_args& args) {
  args.exit_signal = SIGCHLD;
  const auto child = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof(args)));
  if (child == 0) ::_exit(0);
  if (child < 0) return errno;
  ::waitpid(child, nullptr, 0);
  return 0;
}

int clone_plainly() {
  clone_args args{};
  return clone_with(args);
}

// Without privilege all others come with a user namespace only.
int leave(int namespaces) {
  const int user = ::geteuid() == 0 ? 0 : CLONE_NEWUSER;
  return error_of(::unshare(user | namespaces));
}

int user_namespace() { return error_of(::unshare(CLONE_NEWUSER)); }
int pid_namespace() { return leave(CLONE_NEWPID); }
int time_namespace() { return leave(CLONE_NEWTIME); }

int choose_id() {
  if (const int error = leave(CLONE_NEWPID)) return error;
  pid_t first = 1;
  clone_args args{};
  args.set_tid = reinterpret_cast<std::uint64_t>(&first);
  args.set_tid_size = 1;
  return clone_with(args);
}

int mount_proc_here() { return error_of(::mount("proc", "/proc", "proc", 0, nullptr)); }

int mount_proc() {
  if (const int error = leave(CLONE_NEWPID | CLONE_NEWNS)) return error;
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno;
  return in_child(mount_proc_here);
}

int install_filter() {
  std::array<sock_filter, 1> allow{{BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
  const sock_fprog program{allow.size(), allow.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  return error_of(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

int make_executable() {
  constexpr unsigned kExecutable = 0x10;  // MFD_EXEC, Linux 6.3
  int made = ::memfd_create("torpor-probe", MFD_CLOEXEC | kExecutable);
  if (made < 0 && errno == EINVAL) made = ::memfd_create("torpor-probe", MFD_CLOEXEC);
  const base::UniqueFd memory(made);
  return error_of(made);
}

// struct pm_scan_arg, of no pages.
int scan_pages() {
  constexpr std::size_t kWords = 12;
  std::array<std::uint64_t, kWords> scan{sizeof(scan)};
  scan[2] = scan[3] = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::array<std::uint64_t, 3> region{};
  scan[5] = reinterpret_cast<std::uint64_t>(region.data());
  scan[6] = 1;
  const base::UniqueFd pages(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (pages.get() < 0) return errno;
  return error_of(::ioctl(pages.get(), _IOWR('f', 16, decltype(scan)), scan.data()));
}

}  // namespace

std::vector<Offer> probe_host() {
  return {
      {Facility::trace, "ptrace of own children", may_trace_children() ? 0 : EPERM},
      {Facility::memory, "process_vm_readv", with_child(read_memory)},
      {Facility::descriptors, "pidfd_getfd", with_child(take_descriptor_of)},
      {Facility::comparison, "kcmp", with_child(compare)},
      {Facility::plain_clone3, "clone3", in_child(clone_plainly)},
      {Facility::user_namespace, "user namespace", in_child(user_namespace)},
      {Facility::pid_namespace, "pid namespace", in_child(pid_namespace)},
      {Facility::time_namespace, "time namespace", in_child(time_namespace)},
      {Facility::chosen_ids, "clone3 with set_tid", in_child(choose_id)},
      {Facility::fresh_proc, "mount of /proc", in_child(mount_proc)},
      {Facility::filter, "seccomp filter", in_child(install_filter)},
      {Facility::executable_memfd, "executable memfd", in_child(make_executable)},
      {Facility::page_scan, "PAGEMAP_SCAN", in_child(scan_pages)},
  };
}

bool is_offered(const std::vector<Offer>& offers, Facility facility) {
  return std::ranges::any_of(offers, [facility](const Offer& offer) {
    return offer.facility == facility && offer.error == 0;
  });
}

}  // namespace torpor::process
