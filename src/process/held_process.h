// A process that we hold: stopped, or not yet running; its system calls are ours to make.
#pragma once

#include <sys/types.h>

#include <vector>

#include "process/agent_client.h"
#include "process/stopped_tree.h"

namespace torpor::process {

struct HeldProcess {
  pid_t pid = 0;       // in our own pid namespace
  pid_t seen_pid = 0;  // as the process sees itself
  // Its threads, stopped. Null while it is a husk that a restart builds up.
  StoppedProcess* stopped = nullptr;
  // Null for a zombie, and in a dry pass.
  AgentClient* agent = nullptr;

  // Of each thread of `stopped`, in order, once answers_of() (thread_answers.h) has asked for them.
  std::vector<agent::ThreadAnswers> answers;

  // See StoppedProcess::memory_pid().
  [[nodiscard]] pid_t memory_pid() const {
    return stopped != nullptr ? stopped->memory_pid() : pid;
  }
};

}  // namespace torpor::process
