/* loader: works in before for a second, then loads the library its argument names, calls it for a while, unloads it, and so on. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#define NOINLINE __attribute__((noinline, noclone))

volatile uint64_t sink;

NOINLINE uint64_t called_back(uint64_t x) {
    for (int i = 0; i < 20000; i++) { x = x * 6364136223846793005ULL + 1; __asm__ volatile("" : "+r"(x)); }
    sink = x;
    __asm__ volatile("" ::: "memory");
    return x;
}
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec; }
NOINLINE void before(double until) { while (now() < until) { called_back(sink); called_back(sink); } }

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    before(now() + 1);
    for (;;) {
        void *library = dlopen(argv[1], RTLD_NOW);
        if (!library) { fprintf(stderr, "%s\n", dlerror()); return 1; }
        uint64_t (*entry)(uint64_t (*)(uint64_t), uint64_t) = (uint64_t (*)(uint64_t (*)(uint64_t), uint64_t))dlsym(library, "entry");
        for (double until = now() + 0.8; now() < until;) sink = entry(called_back, sink);
        dlclose(library);
    }
}
