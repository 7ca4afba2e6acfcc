#include "resource/private_descriptors.h"

#include <sched.h>
#include <sys/resource.h>

#include <exception>
#include <thread>

#include "base/error.h"

namespace torpor::resource {
namespace {

class RaisedDescriptorLimit {
 public:
  RaisedDescriptorLimit() {
    if (::getrlimit(RLIMIT_NOFILE, &before_) != 0) base::throw_system("cannot read a limit");
    const rlimit raised{before_.rlim_max, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &raised);  // never refused: the hard limit stays
  }
  RaisedDescriptorLimit(const RaisedDescriptorLimit&) = delete;
  RaisedDescriptorLimit& operator=(const RaisedDescriptorLimit&) = delete;
  ~RaisedDescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace

void with_private_descriptors(const std::function<void()>& work) {
  const RaisedDescriptorLimit raised;
  std::exception_ptr failure;
  std::thread([&] {
    try {
      if (::unshare(CLONE_FILES) != 0) base::throw_system("cannot copy the descriptor table");
      work();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace torpor::resource
