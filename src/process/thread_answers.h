// What only a thread itself can tell about itself: its alternate stack, the word that is cleared at
// its end, its parent-death signal and its timer slack.
#pragma once

#include <span>

#include "agent/agent_abi.h"
#include "process/held_process.h"

namespace torpor::process {

// Of each of the stopped threads, in their order: held.answers. Where these are not there yet,
// threads that ptrace holds are all sent into the agent together, and put back. Should we be killed
// meanwhile, they return by themselves. Throws Error: program_gone, timeout, or what a thread's own
// call says.
std::span<const agent::ThreadAnswers> answers_of(HeldProcess& held);

}  // namespace torpor::process
