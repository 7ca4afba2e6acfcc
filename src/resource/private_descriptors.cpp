#include "resource/private_descriptors.h"

#include <sched.h>

#include <exception>
#include <thread>

#include "base/error.h"
#include "resource/raised_descriptor_limit.h"

namespace torpor::resource {
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
