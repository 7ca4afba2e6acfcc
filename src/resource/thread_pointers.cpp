#include "resource/thread_pointers.h"

#include <sys/syscall.h>

#include "base/error.h"
#include "process/thread_facts.h"
#include "resource/thread_view.h"

namespace torpor::resource {
void capture_thread_pointers(process::HeldProcess& held, snapshot::Process& process) {
  for (const ThreadView& thread : threads_with_answers(held, process)) {
    const process::RobustList robust = process::read_robust_list(thread.stopped->tid());
    thread.saved->set_robust_list(robust.head);
    thread.saved->set_robust_list_length(robust.length);
    thread.saved->set_clear_child_tid(thread.answers->tid_address);
    const process::RseqConfiguration rseq = thread.stopped->rseq();
    if (rseq.address == 0) continue;
    snapshot::RestartableSequence& saved = *thread.saved->mutable_rseq();
    saved.set_address(rseq.address);
    saved.set_length(rseq.length);
    saved.set_signature(rseq.signature);
  }
}

void restore_thread_pointers(process::CallList& calls, const snapshot::Thread& thread) {
  if (thread.robust_list() != 0) {
    calls.call(SYS_set_robust_list, {thread.robust_list(), thread.robust_list_length()},
               "register its list of robust futexes");
  }
  // Also when it is 0: a stand-in for the address that the thread was made with.
  calls.call(SYS_set_tid_address, {thread.clear_child_tid()},
             "register the word that is cleared at its end");
  if (thread.rseq().address() != 0) {
    calls.call(SYS_rseq,
               {thread.rseq().address(), thread.rseq().length(), 0, thread.rseq().signature()},
               "register its restartable sequences");
  }
}

}  // namespace torpor::resource
