/* One function per register set: void spin_SET(void* pattern, void* seen).
 *
 * Each loads every register of its set from `pattern`, spins in user code until registers_stop is
 * not 0, and stores the registers to `seen`, in the same layout. Between load and store there is no
 * system call and no write to memory. Layouts are beside each function; x86-64 System V ABI. */

.macro SPIN
7:      pause
        cmpl    $0, registers_stop(%rip)
        je      7b
.endm

.macro FUNCTION name
        .text
        .globl  \name
        .type   \name, @function
        .p2align 4
\name:
.endm

/* rax rbx rcx rdx rsi rdi rbp r8-r15, flags, 16 words of the red zone below the stack pointer.
 * Of the flags, DF and AC are set and kept. */
FUNCTION spin_general
        .irp r, rbx, rbp, r12, r13, r14, r15, rsi
        push    %\r
        .endr
        pushfq
        orq     $0x40400, (%rsp)
        popfq
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        mov     128+8*\i(%rdi), %rax
        mov     %rax, -128+8*\i(%rsp)
        .endr
        .irp i, 8,9,10,11,12,13,14,15
        mov     8*(\i-1)(%rdi), %r\i
        .endr
        mov     0(%rdi), %rax
        mov     8(%rdi), %rbx
        mov     16(%rdi), %rcx
        mov     24(%rdi), %rdx
        mov     32(%rdi), %rsi
        mov     48(%rdi), %rbp
        mov     40(%rdi), %rdi
        SPIN
        lea     -128(%rsp), %rsp
        pushfq
        .irp r, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
        push    %\r
        .endr
        pushfq
        andq    $~0x40400, (%rsp)
        popfq
        mov     256(%rsp), %rdi
        mov     %rsp, %rsi
        mov     $32, %ecx
        rep movsq
        add     $264, %rsp
        .irp r, r15, r14, r13, r12, rbp, rbx
        pop     %\r
        .endr
        ret

/* st0-st7 every 16 bytes, control word at 128, status word at 130 (written to the pattern too). */
FUNCTION spin_x87
        fnstcw  -2(%rsp)
        fninit
        fldcw   128(%rdi)
        .irp i, 7,6,5,4,3,2,1,0
        fldt    16*\i(%rdi)
        .endr
        fxam
        fnstsw  130(%rdi)
        SPIN
        fnstcw  128(%rsi)
        fnstsw  130(%rsi)
        .irp i, 0,1,2,3,4,5,6,7
        fstpt   16*\i(%rsi)
        .endr
        fninit
        fldcw   -2(%rsp)
        ret

/* xmm0-xmm15, MXCSR at 256. */
FUNCTION spin_sse
        stmxcsr -4(%rsp)
        ldmxcsr 256(%rdi)
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        movups  16*\i(%rdi), %xmm\i
        .endr
        SPIN
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        movups  %xmm\i, 16*\i(%rsi)
        .endr
        stmxcsr 256(%rsi)
        ldmxcsr -4(%rsp)
        ret

/* ymm0-ymm15. */
FUNCTION spin_avx
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovups 32*\i(%rdi), %ymm\i
        .endr
        SPIN
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovups %ymm\i, 32*\i(%rsi)
        .endr
        vzeroupper
        ret

/* zmm0-zmm31, then k0-k7 (64 bits each: AVX512BW). */
FUNCTION spin_avx512
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        vmovups 64*\i(%rdi), %zmm\i
        .endr
        .irp i, 0,1,2,3,4,5,6,7
        kmovq   2048+8*\i(%rdi), %k\i
        .endr
        SPIN
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        vmovups %zmm\i, 64*\i(%rsi)
        .endr
        .irp i, 0,1,2,3,4,5,6,7
        kmovq   %k\i, 2048+8*\i(%rsi)
        .endr
        vzeroupper
        ret

/* The 64 bytes of the tile configuration, then eight tiles of 16 rows of 64 bytes. */
FUNCTION spin_amx
        ldtilecfg (%rdi)
        mov     $64, %ecx
        .irp i, 0,1,2,3,4,5,6,7
        tileloadd 64+1024*\i(%rdi,%rcx,1), %tmm\i
        .endr
        SPIN
        sttilecfg (%rsi)
        .irp i, 0,1,2,3,4,5,6,7
        tilestored %tmm\i, 64+1024*\i(%rsi,%rcx,1)
        .endr
        tilerelease
        ret

/* PKRU (4 bytes). The kernel may change it, the program then sees it. */
FUNCTION spin_pkru
        mov     %rsi, %r8
        xor     %ecx, %ecx
        rdpkru
        mov     %eax, %r9d
        xor     %edx, %edx
        mov     (%rdi), %eax
        wrpkru
        SPIN
        rdpkru
        mov     %eax, %r10d
        xor     %edx, %edx
        mov     %r9d, %eax
        wrpkru
        mov     %r10d, (%r8)
        ret

        .section .note.GNU-stack, "", @progbits
