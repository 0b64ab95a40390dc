/* chain_x86_64: what corpus/chain_x86_64*.elf are made of; they are not run. Made by
 *   gcc -O2 -fomit-frame-pointer -fasynchronous-unwind-tables -fcf-protection=none -nostdlib -static -s -Wl,--build-id=none chain_x86_64.c
 * with -no-pie -Wl,-z,noseparate-code for .elf, and with -static-pie -fPIE -fuse-ld=lld for _lld.elf. */
#include <alloca.h>
#include <stdint.h>
#define NOINLINE __attribute__((noinline, noclone))

volatile uint64_t sink;

NOINLINE void leaf(void) { sink++; }
NOINLINE uint64_t saves(uint64_t a, uint64_t b, uint64_t c) {
    leaf();
    uint64_t d = sink;
    leaf();
    return a * d + b + c;
}
NOINLINE uint64_t grows(uint64_t n) {
    volatile char *grown = alloca(64 + n * 16);
    grown[0] = 1;
    return saves(n, sink, 3) + (uint64_t)grown[0];
}
NOINLINE uint64_t aligned(uint64_t n) {
    __attribute__((aligned(64))) volatile uint64_t words[8];
    words[0] = n;
    return grows(n + words[0]) + words[0];
}
__attribute__((used)) void outer(void) { for (;;) aligned(sink); }
__asm__(".globl _start\n.type _start, @function\n_start:\n.cfi_startproc\n.cfi_undefined rip\ncall outer\n.cfi_endproc\n.size _start, . - _start\n"
        ".type back, @function\nback:\n.cfi_startproc\n.cfi_signal_frame\n.cfi_def_cfa rsp, 8\nmov $15, %eax\nsyscall\n.cfi_endproc\n.size back, . - back\n");
