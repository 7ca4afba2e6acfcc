#include "resource/private_descriptors.h"

#include <sched.h>
#include <sys/wait.h>

#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

#include "base/error.h"
#include "process/remote_memory.h"
#include "resource/raised_descriptor_limit.h"

namespace torpor::resource {
namespace {

struct Job {
  const std::function<void()>& work;
  std::exception_ptr failure;
  bool done = false;

  void run() noexcept {
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    done = true;
  }
};

// False if the host refuses it.
bool run_in_thread(Job& job) {
  int error = 0;
  std::thread([&] {
    if (::unshare(CLONE_FILES) == 0) return job.run();
    error = errno;
  }).join();
  if (error == 0) return true;
  if (process::is_refusal_of_host(error)) return false;
  base::throw_errno(error, "cannot copy the descriptor table");
}

int run_job(void* job) {
  static_cast<Job*>(job)->run();
  return 0;
}

// As after vfork(2) the child has our memory and thread-local data, and we stand still. No signal
// tells of its end.
void run_in_process(Job& job) {
  std::vector<std::byte> stack(std::size_t{1} << 20);
  const pid_t pid = ::clone(run_job, stack.data() + stack.size(), CLONE_VM | CLONE_VFORK, &job);
  if (pid < 0) base::throw_system("cannot copy the descriptor table");
  ::waitpid(pid, nullptr, __WALL);
  if (!job.done) throw base::Error(base::ErrorCode::io, "a process of torpor's own was killed");
}

}  // namespace

void with_private_descriptors(const std::function<void()>& work, PrivateBy way) {
  const RaisedDescriptorLimit raised;
  Job job{work, {}};
  const bool in_thread = way != PrivateBy::process && run_in_thread(job);
  if (!in_thread) {
    if (way == PrivateBy::thread) base::throw_errno(EPERM, "cannot copy the descriptor table");
    run_in_process(job);
  }
  if (job.failure) std::rethrow_exception(job.failure);
}

}  // namespace torpor::resource
