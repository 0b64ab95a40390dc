# A fifth of a second of work, and the end.
import time


def brief_work():
    x = 0
    ends = time.process_time() + 0.2
    while time.process_time() < ends:
        for i in range(5_000):
            x = (x * 31 + i) & 0xFFFF
    return x


brief_work()
