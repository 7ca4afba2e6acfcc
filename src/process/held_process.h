// A process that we hold: stopped, or not yet running; its system calls are ours to make.
#pragma once

#include <sys/types.h>

#include <optional>
#include <vector>

#include "process/agent_client.h"
#include "process/id_view.h"
#include "process/resident_view.h"
#include "process/stopped_thread.h"
#include "process/stopped_tree.h"

namespace torpor::process {

struct HeldProcess {
  pid_t pid = 0;       // in our own pid namespace
  pid_t seen_pid = 0;  // as the process sees itself

  // ---- what a checkpoint reads, however the threads were stopped; a husk has none of it
  bool zombie = false;       // no thread left
  bool leader_dead = false;  // the leader has exited, others have not
  int stop_signal = 0;       // of the group stop that it is in, or 0
  // Whether its parent knows of that stop; where it is let go on meanwhile, /proc does not tell.
  std::optional<bool> stop_collected;
  std::vector<StoppedThread*> threads;  // the living ones; the leader first if it lives
  // Of each of them, in order: see answers_of() (thread_answers.h).
  std::vector<agent::ThreadAnswers> answers;

  // What of it is ours all the time; null outside of the wrapped mode.
  const ResidentView* resident = nullptr;

  // Where its ids are neither ours nor those of a pid namespace; else null.
  const IdView* ids = nullptr;

  // As ptrace holds them; null where a signal stopped them, and in a husk.
  StoppedProcess* stopped = nullptr;
  // Null for a zombie, and in a dry pass.
  AgentClient* agent = nullptr;

  // The id by which its program knows what we know by `ours`; `inwards` is what /proc says of that
  // (Status::nspid and the like).
  [[nodiscard]] pid_t seen(pid_t ours, const std::vector<pid_t>& inwards) const {
    if (ids != nullptr) return ids->seen(ours);
    return inwards.empty() ? ours : inwards.back();
  }

  // The id by which /proc and process_vm_readv find its memory: a leader that has exited has none.
  [[nodiscard]] pid_t memory_pid() const {
    return leader_dead && !threads.empty() ? threads.front()->tid() : pid;
  }
};

// One that ptrace holds; `stopped` and its threads must stay where they are.
HeldProcess hold(StoppedProcess& stopped, pid_t seen_pid);

}  // namespace torpor::process
