#include "agent/arch/x86_64/registers.h"

// Calls of the program that are made from here although they may wait, and threads born from here.
    .text

// blocking_call(const IdRequest*, const uint64_t* mask): the call, with `mask` in force while it
// lasts. kMakeItAgain if an order to stop came before it had done anything (leave_blocking_call()).
    .globl blocking_call, blocking_begin, blocking_instruction, blocking_end, blocking_again
    .globl blocking_over
blocking_call:
    push %rbx
    push %r12
    mov %rdi, %rbx
    mov $2, %edi                  // SIG_SETMASK
    xor %edx, %edx
    mov $8, %r10d
    mov $14, %eax                 // rt_sigprocmask
    syscall
blocking_begin:
    mov (%rbx), %rax
    mov 8(%rbx), %rdi
    mov 16(%rbx), %rsi
    mov 24(%rbx), %rdx
    mov 32(%rbx), %r10
    mov 40(%rbx), %r8
    mov 48(%rbx), %r9
blocking_instruction:
    syscall
blocking_end:
    mov %rax, %r12
1:  mov $2, %edi
    lea every_signal(%rip), %rsi
    xor %edx, %edx
    mov $8, %r10d
    mov $14, %eax
    syscall
blocking_over:
    mov %r12, %rax
    pop %r12
    pop %rbx
    ret
blocking_again:
    mov $-4096, %r12
    jmp 1b

// clone_from_trap(flags, stack, parent_word, child_word, thread_pointer): clone(2); the child calls
// child_of_trap(stack).
    .globl clone_from_trap
clone_from_trap:
    mov %rcx, %r10
    mov $56, %eax                 // clone
    syscall
    test %rax, %rax
    jz 2f
    ret
2:  xor %ebp, %ebp
    mov %rsp, %rdi
    and $-16, %rsp
    call child_of_trap
    ud2

// vfork_from_trap(flags, child's stack, end of our stack, where to keep it): the child of a vfork
// returns into the program on the very stack on which we are. So the parent keeps what is there until
// the child is done; in between it needs no stack.
    .globl vfork_from_trap
vfork_from_trap:
    push %rbx
    push %r12
    push %r13
    mov %rdi, %rax
    mov %rsi, %r12
    mov %rdx, %r13
    mov %rcx, %rbx
    sub %rsp, %r13                // bytes to keep
    mov %rsp, %rsi
    mov %rbx, %rdi
    mov %r13, %rcx
    rep movsb
    mov %rax, %rdi
    mov %r12, %rsi
    xor %edx, %edx
    xor %r10d, %r10d
    xor %r8d, %r8d
    mov $56, %eax                 // clone
    syscall
    test %rax, %rax
    jz 2b
    mov %rbx, %rsi
    mov %rsp, %rdi
    mov %r13, %rcx
    rep movsb
    pop %r13
    pop %r12
    pop %rbx
    ret

// What the kernel calls for a signal of which the program has a handler: the handler, when the ids in
// siginfo have been translated. It sees the same stack and registers as if it had been called itself.
    .globl handler_trampoline
handler_trampoline:
    pushfq
    CLEAR_ALIGNMENT_CHECK
    push %rdi
    push %rsi
    push %rdx
    sub $8, %rsp                  // aligned as a function expects it
    call prepare_handler          // the handler's address
    add $8, %rsp
    pop %rdx
    pop %rsi
    pop %rdi
    mov %rax, %r11
    xor %eax, %eax
    popfq
    jmp *%r11

    .section .rodata
    .balign 8
every_signal:
    .quad -1

    .section .note.GNU-stack, "", @progbits
