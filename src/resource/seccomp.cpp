#include "resource/seccomp.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <span>

#include "agent/agent_abi.h"
#include "base/error.h"
#include "process/proc_file.h"
#include "process/proc_status.h"
#include "process/remote_memory.h"
#include "process/resident_view.h"
#include "resource/thread_view.h"

namespace torpor::resource {
namespace {

using Filters = std::vector<process::SeccompProgram>;

// struct sock_fprog of the kernel.
struct KernelProgram {
  std::uint16_t length;
  std::array<std::uint16_t, 3> padding;
  std::uint64_t instructions;
};

[[noreturn]] void refuse(pid_t pid, const std::string& why) {
  throw base::Error(base::ErrorCode::refused, fmt::format("process {}: {}", pid, why),
                    "run the program without its sandbox");
}

// The filters of a thread that we have not ourselves, oldest first.
Filters read_added(const process::StoppedThread& thread, std::uint32_t ours, std::uint32_t added) {
  Filters filters;
  for (std::uint32_t i = 0; i < added; ++i) {
    filters.push_back(thread.seccomp_filter(ours + i));
  }
  return filters;
}

std::uint64_t flags_of(const snapshot::SeccompFilter& saved) {
  return (saved.flags() & SECCOMP_FILTER_FLAG_LOG) | SECCOMP_FILTER_FLAG_TSYNC;
}

bool same(const Filters& a, const Filters& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.instructions == y.instructions && x.flags == y.flags;
  });
}

}  // namespace

std::uint32_t filters_around(pid_t pid) {
  if (!process::has_resident_agent(pid)) return own_filters();
  const auto agents = process::resident_filters(pid);
  // One that ends, or is in the midst of an exec, has nothing added as far as can be told.
  return agents ? own_filters() + *agents : process::read_status(pid).seccomp_filters;
}

std::uint32_t own_filters() { return process::read_status(::getpid()).seccomp_filters; }

bool in_first_user_namespace() {
  constexpr const char* kFirst = "user:[4026531837]";  // PROC_USER_INIT_INO
  return process::read_link("/proc/self/ns/user") == kFirst;
}

bool can_read_filters() {
  const process::Status status = process::read_status(::getpid());
  return (status.cap_eff >> CAP_SYS_ADMIN & 1) != 0 && status.seccomp == 0 &&
         in_first_user_namespace();
}

bool can_tell_filters(pid_t pid, std::uint32_t added) {
  if (can_read_filters()) return true;
  return process::has_resident_agent(pid) && process::count_noted_filters(pid) == added;
}

void capture_seccomp(process::HeldProcess& held, snapshot::Process& process) {
  const std::uint32_t ours = filters_around(held.pid);
  const std::vector<ThreadView> threads = living_threads(held, process);
  std::optional<Filters> common;
  for (const ThreadView& thread : threads) {
    const std::uint32_t added =
        added_filters(process::read_status(held.pid, thread.stopped->tid()), ours);
    if (added != 0 && !can_tell_filters(held.pid, added)) {
      refuse(held.pid, "it has seccomp filters that only root can read");
    }
    Filters filters = read_added(*thread.stopped, ours, added);
    if (common && !same(*common, filters)) {
      refuse(held.pid, "its threads have different seccomp filters");
    }
    if (!common) common = std::move(filters);
  }
  for (process::SeccompProgram& filter : *common) {
    snapshot::SeccompFilter& saved = *process.add_seccomp_filters();
    saved.set_program(std::move(filter.instructions));
    saved.set_flags(filter.flags);
  }
}

std::array<std::uint64_t, 3> put_filter(pid_t pid, base::RemotePtr room,
                                        const snapshot::SeccompFilter& saved) {
  static_assert(sizeof(agent::Context) - offsetof(agent::Context, message) >=
                sizeof(KernelProgram) + BPF_MAXINSNS * sizeof(sock_filter));
  const std::size_t length = saved.program().size() / sizeof(sock_filter);
  if (length > BPF_MAXINSNS) {
    throw base::Error(base::ErrorCode::bad_image, "a seccomp filter in the image is too long",
                      "use another generation");
  }
  const base::RemotePtr code = room + sizeof(KernelProgram);
  process::write_value(pid, room,
                       KernelProgram{static_cast<std::uint16_t>(length), {}, code.address()});
  process::write_memory(pid, code, std::as_bytes(std::span(saved.program())));
  return {SECCOMP_SET_MODE_FILTER, flags_of(saved), room.address()};
}

void restore_seccomp(process::CallList& calls, const snapshot::Process& process) {
  for (const snapshot::SeccompFilter& saved : process.seccomp_filters()) {
    const KernelProgram program{
        static_cast<std::uint16_t>(saved.program().size() / sizeof(sock_filter)),
        {},
        calls.data(std::as_bytes(std::span(saved.program()))).address()};
    calls.call(SYS_seccomp, {SECCOMP_SET_MODE_FILTER, flags_of(saved), calls.value(program)},
               "install its seccomp filter");
  }
}

}  // namespace torpor::resource
