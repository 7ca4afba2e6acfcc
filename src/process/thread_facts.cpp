#include "process/thread_facts.h"

#include <linux/ioprio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

namespace torpor::process {

SchedulingFacts read_scheduling(pid_t tid) {
  SchedulingFacts facts;
  if (::syscall(SYS_sched_getattr, tid, &facts, sizeof(facts), 0) != 0) {
    base::throw_system("cannot read how thread {} is scheduled", tid);
  }
  // The raw call gives 20 - nice, so that no nice value looks like an error.
  const long inverted = ::syscall(SYS_getpriority, 0 /* PRIO_PROCESS */, tid);
  if (inverted < 0) base::throw_system("cannot read the nice value of thread {}", tid);
  constexpr long kInversion = 20;
  facts.nice = static_cast<std::int32_t>(kInversion - inverted);
  return facts;
}

std::vector<std::byte> read_affinity(pid_t tid) {
  constexpr std::size_t kMostProcessors = 65536;
  std::vector<std::byte> mask(kMostProcessors / 8);
  const long bytes = ::syscall(SYS_sched_getaffinity, tid, mask.size(), mask.data());
  if (bytes < 0) base::throw_system("cannot read the processors of thread {}", tid);
  mask.resize(static_cast<std::size_t>(bytes));
  return mask;
}

int read_io_priority(pid_t tid) {
  const long priority = ::syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid);
  if (priority >= 0) return static_cast<int>(priority);
  if (errno == ENOSYS) return 0;  // a kernel without block devices
  base::throw_system("cannot read the I/O priority of thread {}", tid);
}

RobustList read_robust_list(pid_t tid) {
  RobustList list;
  if (::syscall(SYS_get_robust_list, tid, &list.head, &list.length) != 0) {
    base::throw_system("cannot read the list of robust futexes of thread {}", tid);
  }
  return list;
}

}  // namespace torpor::process
