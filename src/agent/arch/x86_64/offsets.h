// Offsets for entry.S; agent.cpp asserts that they agree with agent_abi.h.
#pragma once
#define REGS_R15 0
#define REGS_R14 8
#define REGS_R13 16
#define REGS_R12 24
#define REGS_RBP 32
#define REGS_RBX 40
#define REGS_R11 48
#define REGS_R10 56
#define REGS_R9 64
#define REGS_R8 72
#define REGS_RAX 80
#define REGS_RCX 88
#define REGS_RDX 96
#define REGS_RSI 104
#define REGS_RDI 112
#define REGS_ORIG_RAX 120
#define REGS_RIP 128
#define REGS_CS 136
#define REGS_EFLAGS 144
#define REGS_RSP 152
#define REGS_SS 160
#define CONTEXT_SAVED_REGISTERS 88
#define CONTEXT_INJECT_STACK_TOP 78720
#define CONTEXT_AGENT_STACK_TOP 95104
#define PROBE_SAVED_MASK 216
#define PROBE_STACK_TOP 1072
// The resident agent's; layout_check.cpp asserts that they agree with resident_abi.h.
#define CLOCK_STUB 0x7e9100a00000
#define CLOCK_OFFSETS 0x7e9108000040
#define CLOCK_MARK 0x6b636f6c6374706f
#define RESIDENT_BYTES 1290240
