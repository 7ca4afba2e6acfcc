// What a thread of the program can tell only by itself. All stopped threads are sent here at once,
// with all signals blocked; each makes its calls and waits to be put back. The calls, and a wait
// without a timeout, leave the thread's restart block alone (see inject.cpp).
#include <asm/unistd.h>
#include <linux/prctl.h>

#include "agent/agent.h"

namespace torpor::agent {

void probe_main(ThreadProbe* probe) {
  ThreadAnswers& answers = probe->answers;
  answers.stack_result = raw_syscall(__NR_sigaltstack, 0, address_of(&answers.alternate_stack[0]));
  answers.tid_address_result =
      raw_syscall(__NR_prctl, PR_GET_TID_ADDRESS, address_of(&answers.tid_address), 0, 0, 0);
  answers.parent_death_result =
      raw_syscall(__NR_prctl, PR_GET_PDEATHSIG, address_of(&answers.parent_death_signal), 0, 0, 0);
  answers.timer_slack = raw_syscall(__NR_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
  store(&probe->done, 1);
  while (load(&probe->finish) == 0) futex_wait(&probe->finish, 0, -1);
}

void let_probed_threads_go(Context* context) {
  auto* probes = reinterpret_cast<ThreadProbe*>(context->probes);
  for (std::uint64_t i = 0; i < context->probe_count; ++i) {
    store(&probes[i].finish, 1);
    futex_wake(&probes[i].finish);
  }
}

}  // namespace torpor::agent
