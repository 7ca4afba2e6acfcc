// The way through which a stopped thread of the program makes our calls, and by which it gets back to
// where it was when nobody is left to put it there. Copied as it is into a place where nothing of the
// program lies (src/process/detour.h), data first; nothing here is written by the thread. The layout
// of the data is struct Detour in agent_abi.h.
#include "agent/arch/x86_64/offsets.h"

    .text
    .balign 16
    .globl detour_begin
detour_begin:
    .quad 0x31756f7465647274              // kDetourMagic
    .quad 0                               // users
detour_unmap_start:
    .quad 0
detour_unmap_bytes:
    .quad 0
detour_mask:
    .quad 0
detour_registers:
    .zero 27 * 8

    .globl detour_call
detour_call:
    syscall
    // From here on nobody comes by who is not alone. The last memory of ours goes: that at
    // unmap_start, or, if there is none yet, what this call has mapped.
    .globl detour_back
detour_back:
    mov detour_registers+REGS_RSP(%rip), %rsp
    mov detour_unmap_bytes(%rip), %rsi
    test %rsi, %rsi
    jz 1f
    mov detour_unmap_start(%rip), %rdi
    test %rdi, %rdi
    cmovz %rax, %rdi
    mov $11, %eax                         // munmap
    syscall
1:  mov $2, %edi                          // SIG_SETMASK
    lea detour_mask(%rip), %rsi
    xor %edx, %edx
    mov $8, %r10d
    mov $14, %eax                         // rt_sigprocmask
    syscall
    mov detour_registers+REGS_R15(%rip), %r15
    mov detour_registers+REGS_R14(%rip), %r14
    mov detour_registers+REGS_R13(%rip), %r13
    mov detour_registers+REGS_R12(%rip), %r12
    mov detour_registers+REGS_RBP(%rip), %rbp
    mov detour_registers+REGS_RBX(%rip), %rbx
    mov detour_registers+REGS_R11(%rip), %r11
    mov detour_registers+REGS_R10(%rip), %r10
    mov detour_registers+REGS_R9(%rip), %r9
    mov detour_registers+REGS_R8(%rip), %r8
    mov detour_registers+REGS_RCX(%rip), %rcx
    mov detour_registers+REGS_RDX(%rip), %rdx
    mov detour_registers+REGS_RSI(%rip), %rsi
    mov detour_registers+REGS_RDI(%rip), %rdi
    mov detour_registers+REGS_RAX(%rip), %rax
    // rip, cs, eflags, rsp and ss lie there as iretq wants them.
    lea detour_registers+REGS_RIP(%rip), %rsp
    iretq

// The agent's thread ends here, and its memory with it: rdi, rsi = start and bytes.
    .globl detour_end_thread
detour_end_thread:
    mov $11, %eax                         // munmap
    syscall
    xor %edi, %edi
    mov $60, %eax                         // exit
    syscall
    ud2
    .globl detour_end
detour_end:

    .section .note.GNU-stack, "", @progbits
