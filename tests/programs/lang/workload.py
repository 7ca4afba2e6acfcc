"""CPython with three threads, numpy arrays, BLAS threads and garbage; one checksum per step."""
import sys
import threading

import numpy

THREADS = 3
SIZE = 400_000
MASK = (1 << 64) - 1


def argument(name, fallback):
    return float(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else fallback


class Worker(threading.Thread):
    """Owns an array of numbers and changes it once per step."""

    def __init__(self, number, steps, begin, end):
        super().__init__(daemon=True)
        self.numbers = numpy.arange(SIZE, dtype=numpy.uint64) * numpy.uint64(number * 2 + 3)
        self.steps, self.begin, self.end = steps, begin, end
        self.checksum, self.error = 0, None

    def run(self):
        try:
            for step in range(self.steps):
                self.begin.wait()
                self.work(step)
                self.end.wait()
        except BaseException as error:
            self.error = error
            self.end.abort()

    def work(self, step):
        x = self.numbers
        for _ in range(3):
            x ^= x << numpy.uint64(13)
            x ^= x >> numpy.uint64(7)
            x ^= x << numpy.uint64(17)
        x[:] = numpy.roll(numpy.sort(x), step + 1)
        words = {str(value): i for i, value in enumerate(x[:2000].tolist())}
        assert [words[str(value)] for value in x[:2000].tolist()] == list(range(2000))
        self.checksum = (int(x.sum()) + 31 * int(numpy.bitwise_xor.reduce(x[::7]))) & MASK


def product(step):
    """A matrix product of small whole numbers: exact in floating point, in any order of additions."""
    left = (numpy.arange(90_000).reshape(300, 300) * (step + 1) % 97).astype(float)
    right = (left.T + step) % 89
    return int((left @ right).sum())


def main():
    steps = max(1, int(argument("--seconds", 3) * 10))
    begin, end = threading.Barrier(THREADS + 1), threading.Barrier(THREADS + 1)
    workers = [Worker(i, steps, begin, end) for i in range(THREADS)]
    for worker in workers:
        worker.start()
    print("ready", flush=True)
    rolling = 0
    for step in range(steps):
        begin.wait()
        try:
            end.wait()
        except threading.BrokenBarrierError:
            print("FAIL expected no exception, saw", [w.error for w in workers], file=sys.stderr)
            return 1
        for worker in workers:
            rolling = (rolling * 1_000_003 + worker.checksum) & MASK
        rolling = (rolling + product(step)) & MASK
        print(f"step {step}: {rolling:016x}", flush=True)
    for worker in workers:
        worker.join()
    print("ok", flush=True)
    return 0


sys.exit(main())
