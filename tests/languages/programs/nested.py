# Python that calls C that calls Python: a sort with a key of Python's, a sum of a generator, and a thread that is in C all the time. What
# each thread took by its own account: a line of JSON every tenth of a second.
import json
import os
import threading
import time
import zlib

spent = {"three_us": 0, "one_us": 0}
DATA = bytes(range(256)) * 4096


def numbers(turns):
    x = 0
    for i in range(turns):
        x = (x * 31 + i) & 0xFFFF
        yield x


class Sorter:
    def key(self, item):
        return sum(numbers(item))

    def ordered(self):
        before = time.thread_time_ns()
        sorted(range(2_000, 2_060), key=self.key)
        spent["three_us"] += (time.thread_time_ns() - before) // 1000


def checksum():
    before = time.thread_time_ns()
    for _ in range(10):
        zlib.crc32(DATA)
    spent["one_us"] += (time.thread_time_ns() - before) // 1000


def worker():
    while True:
        checksum()


def main():
    threading.Thread(target=worker, daemon=True).start()
    said, sorter = 0.0, Sorter()
    while True:
        sorter.ordered()
        if time.monotonic() - said >= 0.1:
            said = time.monotonic()
            os.write(1, (json.dumps(spent) + "\n").encode())


main()
