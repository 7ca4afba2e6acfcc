#include "resource/threads.h"

#include <cstring>

#include "base/error.h"
#include "process/proc_status.h"
#include "process/rseq.h"

namespace torpor::resource {
namespace {

void put_registers(const process::StoppedThread& stopped, snapshot::Thread& thread) {
  const process::Registers registers =
      process::outside_critical_section(stopped, stopped.registers_to_save());
  snapshot::Registers& saved = *thread.mutable_registers();
  saved.set_architecture("x86_64");
  saved.set_general(&registers, sizeof(registers));
  const std::vector<std::byte> extended = stopped.extended_registers();
  saved.set_extended(extended.data(), extended.size());
  thread.set_signal_mask(stopped.signal_mask());
}

}  // namespace

pid_t seen_tid(const process::HeldProcess& held, pid_t tid) {
  return held.seen(tid, process::read_status(held.pid, tid).nspid);
}

void capture_threads(const process::HeldProcess& held, snapshot::Process& process) {
  if (held.leader_dead) {
    snapshot::Thread& leader = *process.add_threads();
    leader.set_tid(held.seen_pid);
    leader.set_dead(true);
  }
  const bool same_ids = held.ids == nullptr && held.pid == held.seen_pid;
  for (const process::StoppedThread* stopped : held.threads) {
    snapshot::Thread& thread = *process.add_threads();
    thread.set_tid(same_ids ? stopped->tid() : seen_tid(held, stopped->tid()));
    put_registers(*stopped, thread);
  }
}

void restore_registers(process::Tracee& thread, const snapshot::Thread& saved) {
  process::Registers registers{};
  if (saved.registers().general().size() != sizeof(registers)) {
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("thread {} has no usable registers", saved.tid()));
  }
  std::memcpy(&registers, saved.registers().general().data(), sizeof(registers));
  thread.set_extended_registers(std::as_bytes(std::span(saved.registers().extended())));
  thread.set_registers(registers);
  thread.set_signal_mask(saved.signal_mask());
}

}  // namespace torpor::resource
