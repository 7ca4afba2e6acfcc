// The resident agent's ways in and out on x86-64.
#include "agent/arch/x86_64/offsets.h"
#include "agent/arch/x86_64/registers.h"

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

// What the kernel calls for our two signals.
    .globl stop_entry, trap_entry
stop_entry:
    CLEAR_ALIGNMENT_CHECK
    jmp on_stop
trap_entry:
    CLEAR_ALIGNMENT_CHECK
    jmp on_trap

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
    LOAD_ALL_BUT_RAX
    lea REGS_RIP(%rax), %rsp      // rip, cs, eflags, rsp and ss, as iretq wants them
    mov REGS_RAX(%rax), %rax
    iretq

// go_to_stack(end, function, argument)
    .globl go_to_stack
go_to_stack:
    mov %rdi, %rsp
    and $-16, %rsp
    xor %ebp, %ebp
    mov %rdx, %rdi
    call *%rsi
    ud2

// call_once(number and arguments, mask)
    .globl call_once, call_once_end, leave_call_once
call_once:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rdi, %rbx
    mov $2, %edi                  // SIG_SETMASK
    xor %edx, %edx
    mov $8, %r10d
    mov $14, %eax                 // rt_sigprocmask
    syscall
    mov (%rbx), %rax
    mov 8(%rbx), %rdi
    mov 16(%rbx), %rsi
    mov 24(%rbx), %rdx
    mov 32(%rbx), %r10
    mov 40(%rbx), %r8
    mov 48(%rbx), %r9
    syscall
call_once_end:
    mov %rax, %r12
    mov $2, %edi
    lea no_signal(%rip), %rsi
    xor %edx, %edx
    mov $8, %r10d
    mov $14, %eax
    syscall
1:  mov %r12, %rax
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
// The handler has all signals blocked, and its own in what call_once() has saved for its caller.
leave_call_once:
    mov %rdi, %rsp
    mov $-4, %r12                 // EINTR
    jmp 1b

    .section .rodata
    .balign 8
no_signal:
    .quad -1

    .section .note.GNU-stack, "", @progbits
