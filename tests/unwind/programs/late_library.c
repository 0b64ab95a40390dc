/* A library that is loaded late: spins for so many seconds of CPU time. */
#include <time.h>

__attribute__((noinline, noclone)) static void late_leaf(void) {
    for (volatile int i = 0; i < 3000000; i++) {}
}

void late_work(double seconds) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    double end = (double)t.tv_sec + (double)t.tv_nsec / 1e9 + seconds, now = 0;
    while (now < end) {
        late_leaf();
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        now = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    }
}
