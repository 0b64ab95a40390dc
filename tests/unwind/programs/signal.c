/* signal: outer calls waits, which spins while a timer interrupts it; the handler calls handled, which works. */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#define NOINLINE __attribute__((noinline, noclone))

volatile uint64_t sink;

NOINLINE void handled(void) {
    uint64_t x = sink;
    for (int i = 0; i < 400000; i++) { x = x * 6364136223846793005ULL + 1; __asm__ volatile("" : "+r"(x)); }
    sink = x;
    __asm__ volatile("" ::: "memory");
}
NOINLINE void handler(int number) { handled(); sink += (uint64_t)number; }
NOINLINE void waits(void) { for (int i = 0; i < 1000000; i++) __asm__ volatile("" : "+r"(i)); }
NOINLINE void outer(void) { waits(); __asm__ volatile("" ::: "memory"); }

int main(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(SIGALRM, &action, 0);
    struct itimerval timer = {{0, 1000}, {0, 1000}};
    setitimer(ITIMER_REAL, &timer, 0);
    for (;;) outer();
}
