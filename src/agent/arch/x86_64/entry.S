// The ways into the agent on x86-64, and the way back for the thread that brought it in.
#include "agent/arch/x86_64/offsets.h"
#include "agent/arch/x86_64/registers.h"

    .section .blob_header, "a"
    .globl blob_start
    .hidden blob_start
blob_start:
    .quad 0x31746e6567617274              // kBlobMagic
    .quad blob_end - blob_start
    .quad inject_entry - blob_start
    .quad serve_entry - blob_start
    .quad probe_entry - blob_start
    .quad detour_begin - blob_start
    .quad detour_end - blob_start
    .quad detour_call - blob_start
    .quad detour_back - blob_start
    .quad detour_end_thread - blob_start

    .text

// A husk begins here, by exec.
    .globl husk_start
husk_start:
    xor %ebp, %ebp
    and $-16, %rsp
    lea blob_start(%rip), %rdi
    call husk_main
    ud2

// A stopped thread of the program is sent here: rdi = Context*. Its own stack is not touched.
    .globl inject_entry
inject_entry:
    cld
    xor %ebp, %ebp
    mov %rdi, %rbx
    lea CONTEXT_INJECT_STACK_TOP(%rdi), %rsp
    and $-16, %rsp
    CLEAR_ALIGNMENT_CHECK
    call inject_main
    // inject_main returns only when the supervisor was lost: go back to where we were, by the detour
    // if there is one. Else from here, and our memory stays. iretq restores rip, rflags and rsp
    // without touching the program's stack.
    test %rax, %rax
    jz 1f
    jmp *%rax
1:  lea CONTEXT_SAVED_REGISTERS(%rbx), %rax
go_back:
    pushq REGS_SS(%rax)
    pushq REGS_RSP(%rax)
    pushq REGS_EFLAGS(%rax)
    pushq REGS_CS(%rax)
    pushq REGS_RIP(%rax)
    LOAD_ALL_BUT_RAX
    mov REGS_RAX(%rax), %rax
    iretq

// A stopped thread of the program is sent here to answer for itself: rdi = ThreadProbe*.
    .globl probe_entry
probe_entry:
    cld
    xor %ebp, %ebp
    mov %rdi, %rbx
    lea PROBE_STACK_TOP(%rdi), %rsp
    and $-16, %rsp
    CLEAR_ALIGNMENT_CHECK
    call probe_main
    // The handlers of signals that have come meanwhile run now: on the program's own stack, as ours is
    // far too small.
    mov REGS_RSP(%rbx), %rsp
    mov $2, %edi                          // SIG_SETMASK
    lea PROBE_SAVED_MASK(%rbx), %rsi
    xor %edx, %edx
    mov $8, %r10d
    mov $14, %eax                         // rt_sigprocmask
    syscall
    mov %rbx, %rax
    LOAD_ALL_BUT_RAX
    lea REGS_RIP(%rax), %rsp              // rip, cs, eflags, rsp and ss, as iretq wants them
    mov REGS_RAX(%rax), %rax
    iretq

// The server starts over in a moved copy of the blob: rdi = Context* of the new place.
    .globl serve_entry
serve_entry:
    xor %ebp, %ebp
    lea CONTEXT_AGENT_STACK_TOP(%rdi), %rsp
    and $-16, %rsp
    call serve
    ud2

// void jump_to(uint64_t address, void* argument, uint64_t second)
    .globl jump_to
jump_to:
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rdx, %rsi
    jmp *%rax

// int64_t clone_call(struct clone_args* args, size_t size, void (*function)(void*), void* argument)
// clone3(2); the child calls function(argument) on its new stack and never returns.
    .globl clone_call
clone_call:
    mov %rdx, %r8
    mov %rcx, %r9
    mov $435, %eax
    syscall
    test %rax, %rax
    jz 1f
    ret
1:  xor %ebp, %ebp
    mov %r9, %rdi
    call *%r8
    ud2

    .section .note.GNU-stack, "", @progbits
