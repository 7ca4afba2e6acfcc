// The resident agent's ways in and out on x86-64.
#include "agent/arch/x86_64/offsets.h"

    .section .resident_area, "aw", @nobits
    .balign 4096
    .globl resident_area
resident_area:
    .zero RESIDENT_BYTES
    .size resident_area, RESIDENT_BYTES

    .text
// The kernel has executed us.
    .globl resident_start
resident_start:
    xor %ebp, %ebp
    mov %rsp, %rdi
    and $-16, %rsp
    call resident_main
    ud2

    .globl resident_restorer
resident_restorer:
    mov $15, %eax                 // rt_sigreturn
    syscall
    ud2

    .globl return_from_signal
return_from_signal:
    mov %rdi, %rsp
    mov $15, %eax
    syscall
    ud2

// rdi = registers, rsi = extended registers or 0, rdx = mask
    .globl leave_by_hand
leave_by_hand:
    mov %rdi, %rbx
    mov %rdx, %r12
    test %rsi, %rsi
    jz 2f
    // struct _fpx_sw_bytes at 464: whether and which extended state there is.
    cmpl $0x46505853, 464(%rsi)   // FP_XSTATE_MAGIC1
    jne 1f
    mov 472(%rsi), %eax
    mov 476(%rsi), %edx
    xrstor64 (%rsi)
    jmp 2f
1:  fxrstor64 (%rsi)
2:  mov $2, %edi                  // SIG_SETMASK
    mov %r12, %rsi
    xor %edx, %edx
    mov $8, %r10d
    mov $14, %eax                 // rt_sigprocmask
    syscall
    mov %rbx, %rax
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
    lea REGS_RIP(%rax), %rsp      // rip, cs, eflags, rsp and ss, as iretq wants them
    mov REGS_RAX(%rax), %rax
    iretq

// clone_thread(flags, stack_top, cleared, function, argument)
    .globl clone_thread
clone_thread:
    mov %rcx, %r9                 // function
    mov %rdx, %r10                // child_tid
    xor %edx, %edx
    mov %r8, %rcx                 // kept on the new stack, as the call destroys rcx
    sub $16, %rsi
    mov %rcx, (%rsi)
    xor %r8d, %r8d                // tls
    mov $56, %eax                 // clone
    syscall
    test %rax, %rax
    jz 1f
    ret
1:  xor %ebp, %ebp
    mov (%rsp), %rdi
    and $-16, %rsp
    call *%r9
    ud2

    .section .note.GNU-stack, "", @progbits
