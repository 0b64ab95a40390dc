/* chain: main calls one, one calls two, ... five calls leaf, which works. Frames differ in size, some have one of their own size,
 * so that each is found by another rule.
 *   CALL(n)   DEPTH: how often `dive` calls itself before it calls one */
#include <alloca.h>
#include <stdint.h>
#include <stdlib.h>
#define NOINLINE __attribute__((noinline, noclone))

volatile uint64_t sink;

NOINLINE uint64_t leaf(uint64_t x) {
    for (int i = 0; i < 20000; i++) { x = x * 6364136223846793005ULL + 1; __asm__ volatile("" : "+r"(x)); }
    sink = x;
    return x;
}

NOINLINE uint64_t five(uint64_t x) { uint64_t r = leaf(x); __asm__ volatile("" ::: "memory"); return r + 1; }
NOINLINE uint64_t four(uint64_t x) {
    volatile char *grown = alloca(64 + x % 300);
    grown[0] = (char)x;
    uint64_t r = five(x + 1);
    return r + (uint64_t)grown[0];
}
NOINLINE uint64_t three(uint64_t x) {
    volatile uint64_t large[700] = {x};
    uint64_t r = four(x + 1);
    return r + large[x % 700];
}
NOINLINE uint64_t two(uint64_t x) {
    __attribute__((aligned(64))) volatile uint64_t aligned[8] = {x};
    uint64_t r = three(x + 1);
    return r + aligned[x % 8];
}
NOINLINE uint64_t one(uint64_t x) { uint64_t r = two(x + 1); __asm__ volatile("" ::: "memory"); return r ^ 3; }

NOINLINE uint64_t dive(int depth) {
    uint64_t r = depth > 0 ? dive(depth - 1) : one(sink % 7);
    __asm__ volatile("" ::: "memory");
    return r + 1;
}

int main(int argc, char **argv) {
    int depth = argc > 1 ? atoi(argv[1]) : -1;
    for (;;) {
        if (depth >= 0) dive(depth); else one(sink % 7);
    }
}
