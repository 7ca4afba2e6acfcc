#include "agent/arch/x86_64/offsets.h"

// clock_gettime of the program's vdso leads here (clock_vdso.h), and from here to what it was. What
// is on our stack then is struct ClockFrame; a thread that is stopped in here, or below, is put back
// to the beginning by leave_clock().
    .text
    .globl clock_begin, clock_framed, clock_return, clock_done, clock_by_call, clock_called
    .globl clock_over
clock_begin:                      // edi = clock, rsi = where to put the time
    cmp $7, %edi
    ja 1f
    mov $0xd2, %eax               // CLOCK_MONOTONIC, its RAW and COARSE, CLOCK_BOOTTIME
    bt %edi, %eax
    jnc 1f
    sub $72, %rsp
clock_framed:
    mov %rdi, 8(%rsp)
    mov %rsi, 16(%rsp)
    mov %rbx, 24(%rsp)
    mov %rbp, 32(%rsp)
    mov %r12, 40(%rsp)
    mov %r13, 48(%rsp)
    mov %r14, 56(%rsp)
    mov %r15, 64(%rsp)
    movabs $CLOCK_MARK, %rax
    xor %rsp, %rax
    mov %rax, (%rsp)
    movabs $CLOCK_STUB, %rax
    call *%rax
clock_return:
    movq $0, (%rsp)
    test %eax, %eax
    jnz 3f
    movabs $CLOCK_OFFSETS, %rdi
    cmpl $7, 8(%rsp)              // CLOCK_BOOTTIME's follows
    lea 16(%rdi), %rdx
    cmove %rdx, %rdi
    mov 16(%rsp), %rcx
    mov (%rdi), %rdx
    mov 8(%rdi), %rsi
    add (%rcx), %rdx
    add 8(%rcx), %rsi
    cmp $1000000000, %rsi
    jb 2f
    sub $1000000000, %rsi
    inc %rdx
2:  mov %rdx, (%rcx)
    mov %rsi, 8(%rcx)
3:  add $72, %rsp
clock_done:
    ret
1:  movabs $CLOCK_STUB, %rax
    jmp *%rax

// Where the vdso's own code could not be led back into.
clock_by_call:
    mov $228, %eax                // clock_gettime
    syscall
clock_called:
    ret
clock_over:

    .section .note.GNU-stack, "", @progbits
