/* chain_aarch64: what corpus/chain_aarch64.elf and .stack are made of. _start calls outer, ... down to leaf, which writes its registers
 * and the stack above it: pc, sp, x29, x30, then the words from sp up to where the program began. Made by
 *   aarch64-linux-gnu-gcc -O2 -fomit-frame-pointer -mbranch-protection=pac-ret -fasynchronous-unwind-tables -nostdlib -static -no-pie -s \
 *       -Wl,-z,noseparate-code -Wl,--build-id=none chain_aarch64.c -o chain_aarch64.elf
 *   qemu-aarch64 chain_aarch64.elf > chain_aarch64.stack
 * The same without -s has the addresses of the functions. */
#include <alloca.h>
#include <stdint.h>
#define NOINLINE __attribute__((noinline, noclone))

uint64_t *began;
volatile uint64_t sink;

static long write_all(const void *from, uint64_t bytes) {
    register long x8 __asm__("x8") = 64, x0 __asm__("x0") = 1;
    register const void *x1 __asm__("x1") = from;
    register uint64_t x2 __asm__("x2") = bytes;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}

static uint64_t kept[4];

/* Has its return address in x30 only. */
NOINLINE void leaf(void) {
    uint64_t *sp;
    __asm__ volatile("adr %0, .\n" : "=r"(kept[0]));
    __asm__ volatile("mov %0, sp\n" : "=r"(sp));
    __asm__ volatile("mov %0, x29\n" : "=r"(kept[2]));
    __asm__ volatile("mov %0, x30\n" : "=r"(kept[3]));
    kept[1] = (uint64_t)sp;
    write_all(kept, sizeof kept);
    write_all(sp, (uint64_t)((char *)began - (char *)sp));
}
/* Stores the return address alone. */
NOINLINE uint64_t saves(uint64_t a, uint64_t b) {
    leaf();
    return a * sink + b;
}
/* Stores both, and has a frame of its own size: the CFA is by the frame pointer. */
NOINLINE uint64_t grows(uint64_t n) {
    volatile char *grown = alloca(64 + n * 16);
    grown[0] = 1;
    return saves(n, sink) + (uint64_t)grown[0];
}
/* A large frame. */
NOINLINE uint64_t large(uint64_t n) {
    volatile uint64_t words[80];
    words[0] = n;
    words[1] = 1;
    return grows(n + words[0]) + words[1];
}
/* Stores the return address alone. */
NOINLINE uint64_t plain(uint64_t n) { return large(n) + 1; }

NOINLINE __attribute__((used)) void outer(uint64_t *at) {
    began = at;
    sink = plain(sink) + 1;
    register long x8 __asm__("x8") = 93, x0 __asm__("x0") = 0;
    __asm__ volatile("svc 0" ::"r"(x8), "r"(x0));
    __builtin_unreachable();
}

__asm__(".globl _start\n.type _start, %function\n_start:\n.cfi_startproc\n.cfi_undefined x30\n"
        "mov x29, #0\nmov x30, #0\nmov x0, sp\nbl outer\n.cfi_endproc\n.size _start, . - _start\n");
