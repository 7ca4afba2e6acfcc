#include "process/held_process.h"

namespace torpor::process {

HeldProcess hold(StoppedProcess& stopped, pid_t seen_pid) {
  HeldProcess held;
  held.pid = stopped.pid;
  held.seen_pid = seen_pid;
  held.zombie = stopped.zombie;
  held.leader_dead = stopped.leader_dead;
  held.stop_signal = stopped.stop_signal();
  for (Tracee& thread : stopped.threads) held.threads.push_back(&thread);
  held.stopped = &stopped;
  return held;
}

}  // namespace torpor::process
