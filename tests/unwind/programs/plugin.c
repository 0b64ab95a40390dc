/* plugin: a library that is loaded while the program runs. It calls back. */
#include <stdint.h>
__attribute__((noinline, noclone)) uint64_t in_library(uint64_t (*back)(uint64_t), uint64_t x) {
    volatile uint64_t kept[20] = {x};
    uint64_t r = back(x + 1);
    return r + kept[x % 20];
}
uint64_t entry(uint64_t (*back)(uint64_t), uint64_t x) {
    uint64_t r = in_library(back, x);
    __asm__ volatile("" ::: "memory");
    return r + 1;
}
