// entry.S cannot see the structs; this file refuses to compile when its offsets are out of date.
#include "agent/agent_abi.h"
#include "agent/arch/x86_64/offsets.h"

namespace torpor::agent {

static_assert(offsetof(Context, saved_registers) == CONTEXT_SAVED_REGISTERS);
static_assert(offsetof(Context, inject_stack) + kStackSize == CONTEXT_INJECT_STACK_TOP);
static_assert(offsetof(Context, agent_stack) + kStackSize == CONTEXT_AGENT_STACK_TOP);
static_assert(sizeof(Call) == 72);
static_assert(sizeof(BlobHeader) == 80);
static_assert(sizeof(DetourData) == 32 * 8);
static_assert(offsetof(ThreadProbe, saved_registers) == 0);
static_assert(offsetof(ThreadProbe, saved_mask) == PROBE_SAVED_MASK);
static_assert(sizeof(ThreadProbe) == PROBE_STACK_TOP);

}  // namespace torpor::agent
