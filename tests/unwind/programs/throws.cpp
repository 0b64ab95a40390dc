// throws: main calls attempt, which calls deeper, which calls deepest, which throws. Work is done on the way down, in a destructor
// while the exception travels, and in the handler.
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>
#define NOINLINE __attribute__((noinline, noclone))

volatile uint64_t sink;

NOINLINE static void work(int rounds) {
    uint64_t x = sink;
    for (int i = 0; i < rounds; i++) { x = x * 6364136223846793005ULL + 1; __asm__ volatile("" : "+r"(x)); }
    sink = x;
    __asm__ volatile("" ::: "memory");
}

struct Guard {
    std::string name;
    explicit Guard(const char *of) : name(of) {}
    NOINLINE ~Guard() { work(4000); __asm__ volatile("" ::: "memory"); }
};

NOINLINE static void deepest(int number) {
    Guard guard("a name that is longer than a short string may be");
    work(8000);
    if (number % 2) throw std::runtime_error("odd");
    work(4000);
}

NOINLINE static void deeper(int number) {
    std::vector<int> held(static_cast<size_t>(number % 50 + 1));
    Guard guard("deeper");
    deepest(number);
    held[0] = number;
    sink = sink + static_cast<uint64_t>(held[0]);
}

NOINLINE static void attempt(int number) {
    try {
        deeper(number);
    } catch (const std::exception &error) {
        work(6000);
        sink = sink + static_cast<uint64_t>(error.what()[0]);
    }
}

int main() {
    for (int number = 0;; number++) attempt(number);
}
