/**
 * Spins in two methods, three parts of the time in burnThree and one in burnOne, and says every 100 ms what CPU time each took, in microseconds. With
 * a number it ends after so many milliseconds.
 */
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;

public class Hot {
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();
    private static volatile double sink;

    private static long cpuNs() {
        return THREADS.getCurrentThreadCpuTime();
    }

    static double burnThree(int turns) {
        double sum = 0;
        for (int i = 1; i < turns; i++) sum += Math.sqrt(i) / (i + sum);
        return sum;
    }

    static double burnOne(int turns) {
        double sum = 1;
        for (int i = 1; i < turns; i++) sum = Math.sqrt(sum + i) * 1.5;
        return sum;
    }

    /** Whoever is behind its share is next. */
    static void burn(long[] spentNs) {
        boolean isThree = spentNs[0] <= 3 * spentNs[1];
        long before = cpuNs();
        sink = isThree ? burnThree(1_000_000) : burnOne(1_000_000);
        spentNs[isThree ? 0 : 1] += cpuNs() - before;
    }

    public static void main(String[] arguments) {
        long now = System.nanoTime();
        long end = arguments.length > 0 ? now + Long.parseLong(arguments[0]) * 1_000_000 : Long.MAX_VALUE;
        long next = now;
        long[] spentNs = {0, 0};
        while (now < end) {
            burn(spentNs);
            now = System.nanoTime();
            if (now >= next) {
                next = now + 100_000_000;
                System.out.println("{\"three_us\":" + spentNs[0] / 1000 + ",\"one_us\":" + spentNs[1] / 1000 + "}");
            }
        }
    }
}
