#include "process/seccomp_filters.h"

#include <linux/filter.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include <array>

#include "base/error.h"

namespace torpor::process {
namespace {

// Newer than the headers that we are built with.
constexpr int kGetDispatch = 0x4211;  // PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
struct DispatchConfiguration {
  std::uint64_t mode, selector, offset, length;
};

// ptrace(2) is declared with an enum for its request by glibc.
long request(int number, pid_t tid, std::uint64_t address, void* data) {
  return ::ptrace(static_cast<__ptrace_request>(number), tid, address, data);
}

}  // namespace

SeccompProgram read_filter(pid_t tid, std::uint32_t index) {
  std::array<sock_filter, BPF_MAXINSNS> instructions;
  const long count = request(PTRACE_SECCOMP_GET_FILTER, tid, index, instructions.data());
  if (count < 0) {
    if (errno == ENOENT) {
      throw base::Error(base::ErrorCode::not_found,
                        fmt::format("thread {} has no seccomp filter {}", tid, index));
    }
    base::throw_system("cannot read seccomp filter {} of thread {}", index, tid);
  }
  SeccompProgram program;
  program.instructions.assign(reinterpret_cast<const char*>(instructions.data()),
                              static_cast<std::size_t>(count) * sizeof(sock_filter));
  __ptrace_seccomp_metadata metadata{.filter_off = index, .flags = 0};
  if (request(PTRACE_SECCOMP_GET_METADATA, tid, sizeof(metadata), &metadata) > 0) {
    program.flags = metadata.flags;
  }
  return program;
}

bool has_dispatch(pid_t tid) {
  DispatchConfiguration configuration{};
  if (request(kGetDispatch, tid, sizeof(configuration), &configuration) != 0) return false;
  constexpr std::uint64_t kOff = 0;  // PR_SYS_DISPATCH_OFF
  return configuration.mode != kOff;
}

}  // namespace torpor::process
