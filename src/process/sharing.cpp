#include "process/sharing.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

namespace torpor::process {
namespace {

int type_of(Shareable what) {
  switch (what) {
    case Shareable::memory: return KCMP_VM;
    case Shareable::descriptors: return KCMP_FILES;
    case Shareable::directories: return KCMP_FS;
    case Shareable::actions: return KCMP_SIGHAND;
  }
  return KCMP_VM;
}

}  // namespace

std::optional<int> compare_shareable(Shareable what, pid_t a, pid_t b) {
  const long order = ::syscall(SYS_kcmp, a, b, type_of(what), 0, 0);
  if (order >= 0) return order == 2 ? 1 : -static_cast<int>(order);  // 1 less, 2 greater
  if (errno == ESRCH) return std::nullopt;
  base::throw_system("cannot compare what {} and {} share", a, b);
}

}  // namespace torpor::process
