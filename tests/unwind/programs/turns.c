/* turns: works 50 ms in odd, then 50 ms in even, each time as another program.
 *   exec PROGRAM    the same process executes PROGRAM again and again
 *   reuse PROGRAM   children execute PROGRAM one after the other, all with the same process id
 *   odd, even       one turn */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define NOINLINE __attribute__((noinline, noclone))

volatile uint64_t sink;

static int is_over(void) {
    static long until;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    long now = t.tv_sec * 1000 + t.tv_nsec / 1000000;
    if (until == 0) until = now + 50;
    return now >= until;
}
NOINLINE void odd_leaf(void) {
    uint64_t x = sink;
    for (int i = 0; i < 100000; i++) { x = x * 6364136223846793005ULL + 1; __asm__ volatile("" : "+r"(x)); }
    sink = x;
    __asm__ volatile("" ::: "memory");
}
NOINLINE void even_leaf(void) {
    uint64_t x = sink;
    for (int i = 0; i < 100000; i++) { x = x * 2862933555777941757ULL + 3; __asm__ volatile("" : "+r"(x)); }
    sink = x;
    __asm__ volatile("" ::: "memory");
}
NOINLINE void odd_work(void) { while (!is_over()) odd_leaf(); }
NOINLINE void even_work(void) { while (!is_over()) even_leaf(); }

static pid_t child_with(pid_t wanted) {
    struct clone_args args;
    memset(&args, 0, sizeof args);
    args.exit_signal = SIGCHLD;
    if (wanted) {
        args.set_tid = (uint64_t)(uintptr_t)&wanted;
        args.set_tid_size = 1;
    }
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    if (!strcmp(argv[1], "odd")) { odd_work(); return 0; }
    if (!strcmp(argv[1], "even")) { even_work(); return 0; }
    if (!strcmp(argv[1], "exec")) {
        int is_odd = argc > 3 && !strcmp(argv[3], "odd");
        if (is_odd) odd_work(); else even_work();
        execl(argv[2], "turns", "exec", argv[2], is_odd ? "even" : "odd", (char *)0);
        return 1;
    }
    pid_t kept = 0;
    for (int turn = 0;; turn++) {
        pid_t child = child_with(kept);
        if (child == 0) {
            execl(argv[2], "turns", turn % 2 ? "odd" : "even", (char *)0);
            _exit(1);
        }
        /* Somebody else has the number at the moment. */
        if (child < 0 && errno == EEXIST) { usleep(1000); continue; }
        if (child < 0) { perror("clone3"); return 1; }
        kept = child;
        waitpid(child, 0, 0);
    }
}
