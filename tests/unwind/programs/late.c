/* late GATE LIBRARY: spins in early until the file GATE is there. Then it maps code it did not have before: it spins in late_work of the library, then in code
 * that it makes itself, and names that in a perf map as it ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

__attribute__((noinline, noclone)) static void early(void) {
    for (volatile int i = 0; i < 3000000; i++) {}
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    while (access(argv[1], F_OK)) early();
    void *library = dlopen(argv[2], RTLD_NOW);
    void (*late_work)(double) = library ? (void (*)(double))dlsym(library, "late_work") : NULL;
    if (!late_work) return 3;
    /* push %rbp; mov %rsp,%rbp; 1: dec %rdi; jnz 1b; pop %rbp; ret */
    static const uint8_t code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xff, 0xcf, 0x75, 0xfb, 0x5d, 0xc3};
    void *made = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) return 4;
    memcpy(made, code, sizeof code);
    void (*spin)(uint64_t) = (void (*)(uint64_t))(uintptr_t)made;
    late_work(2.5);
    for (double end = cpu_s() + 1.5; cpu_s() < end;) spin(3000000);
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(path, "w");
    if (!map) return 5;
    fprintf(map, "%lx %zx made_late\n", (unsigned long)(uintptr_t)made, sizeof code);
    fclose(map);
    return 0;
}
