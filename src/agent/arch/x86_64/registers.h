// What the agent does with the registers of a thread in more than one place. For assembly only.
#pragma once
// clang-format off

// From a struct user_regs_struct at rax.
    .macro LOAD_ALL_BUT_RAX
    mov REGS_R15(%rax), %r15
    mov REGS_R14(%rax), %r14
    mov REGS_R13(%rax), %r13
    mov REGS_R12(%rax), %r12
    mov REGS_RBP(%rax), %rbp
    mov REGS_RBX(%rax), %rbx
    mov REGS_R11(%rax), %r11
    mov REGS_R10(%rax), %r10
    mov REGS_R9(%rax), %r9
    mov REGS_R8(%rax), %r8
    mov REGS_RCX(%rax), %rcx
    mov REGS_RDX(%rax), %rdx
    mov REGS_RSI(%rax), %rsi
    mov REGS_RDI(%rax), %rdi
    .endm

// The program may have switched alignment checks on (AC), and compiled code does not care for them.
// Needs a stack.
    .macro CLEAR_ALIGNMENT_CHECK
    pushfq
    andl $~0x40000, (%rsp)
    popfq
    .endm
