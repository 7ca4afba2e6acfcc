#include "resource/thread_pointers.h"

#include <linux/prctl.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "process/borrowed_calls.h"
#include "process/thread_facts.h"
#include "resource/thread_view.h"

namespace torpor::resource {
namespace {

std::uint64_t word_to_clear(const process::BorrowedCalls& calls, process::Tracee& thread) {
  const std::int64_t result =
      calls.call(thread, SYS_prctl, {PR_GET_TID_ADDRESS, calls.room(), 0, 0, 0});
  if (result < 0) {
    base::throw_errno(
        static_cast<int>(-result),
        fmt::format("cannot ask thread {} which word is cleared at its end", thread.tid()));
  }
  return calls.result<std::uint64_t>();
}

}  // namespace

void capture_thread_pointers(process::HeldProcess& held, snapshot::Process& process) {
  const process::BorrowedCalls calls(held);
  for (const ThreadView& thread : living_threads(held, process)) {
    const process::RobustList robust = process::read_robust_list(thread.tracee->tid());
    thread.saved->set_robust_list(robust.head);
    thread.saved->set_robust_list_length(robust.length);
    thread.saved->set_clear_child_tid(word_to_clear(calls, *thread.tracee));
    const process::RseqConfiguration rseq = thread.tracee->rseq();
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
