#!/usr/bin/python3
"""Counts the primes below 2000, 4000, ... with four threads, one line for each step.

usage: primes.py STEPS SECONDS     the pause between two steps; the output does not depend on it
"""

import queue
import sys
import threading
import time

WIDTH = 2000
THREADS = 4


def count_primes(start: int, end: int) -> int:
    return sum(1 for n in range(max(start, 2), end) if all(n % d for d in range(2, int(n**0.5) + 1)))


def work(shares: queue.Queue, results: queue.Queue) -> None:
    while True:
        results.put(count_primes(*shares.get()))


def main() -> None:
    steps, pause = int(sys.argv[1]), float(sys.argv[2])
    shares: queue.Queue = queue.Queue()
    results: queue.Queue = queue.Queue()
    for _ in range(THREADS):
        threading.Thread(target=work, args=(shares, results), daemon=True).start()
    total = 0
    for step in range(steps):
        edges = [step * WIDTH + WIDTH * i // THREADS for i in range(THREADS + 1)]
        for share in zip(edges, edges[1:]):
            shares.put(share)
        total += sum(results.get() for _ in range(THREADS))
        print(f"{total:5} primes below {edges[-1]:6}", flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    main()
