/* forks: a parent that forks a child, which works for 50 ms and ends, one after the other. With an argument each child becomes
 * that program first (with the argument "work", which this one takes). */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define NOINLINE __attribute__((noinline, noclone))

volatile uint64_t sink;

NOINLINE void child_leaf(void) {
    uint64_t x = sink;
    for (int i = 0; i < 100000; i++) { x = x * 6364136223846793005ULL + 1; __asm__ volatile("" : "+r"(x)); }
    sink = x;
    __asm__ volatile("" ::: "memory");
}
NOINLINE void child_work(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    long until = t.tv_sec * 1000 + t.tv_nsec / 1000000 + 50;
    do {
        child_leaf();
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    } while (t.tv_sec * 1000 + t.tv_nsec / 1000000 < until);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "work")) { child_work(); return 0; }
    for (;;) {
        pid_t child = fork();
        if (child == 0) {
            if (argc > 1) { execl(argv[1], argv[1], "work", (char *)0); _exit(1); }
            child_work();
            _exit(0);
        }
        waitpid(child, 0, 0);
    }
}
