#include "process/rseq.h"

#include <linux/rseq.h>

#include "base/error.h"
#include "process/remote_memory.h"

namespace torpor::process {

Registers outside_critical_section(const StoppedThread& thread, const Registers& registers) {
  const RseqConfiguration rseq = thread.rseq();
  if (rseq.address == 0) return registers;
  const auto area = base::RemotePtr(rseq.address);
  const auto descriptor =
      read_value<std::uint64_t>(thread.tid(), area + offsetof(struct ::rseq, rseq_cs));
  if (descriptor == 0) return registers;
  const auto section = read_value<rseq_cs>(thread.tid(), base::RemotePtr(descriptor));
  Registers moved = registers;
  if (registers.rip - section.start_ip < section.post_commit_offset) {
    moved.rip = section.abort_ip;
  }
  return moved;
}

}  // namespace torpor::process
