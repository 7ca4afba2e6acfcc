#!/usr/bin/python3
"""What a running program pays in the wrapped mode: the same operations bare and under `torpor launch --mode
wrapped`, in turns in the same run. Prints medians and ratios.

usage: overhead.py [--build DIR] [--rounds N]
"""

import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Not led into the agent: the filter itself is all that they may feel.
NOT_WRAPPED = {"getpid", "pipe write+read", "open+close", "mmap+munmap", "futex ping-pong"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--rounds", type=int, default=5, help="counted ones, besides one to get warm")
    return parser.parse_args()


def figures(around: list[str], program: str) -> dict[str, float]:
    """Nanoseconds by operation; the start of an interpreter is timed from outside, in one process
    tree that does nothing else."""
    done = subprocess.run([*around, program], check=True, capture_output=True, text=True)
    result = {}
    for line in done.stdout.splitlines():
        name, number = line.rsplit(" ", 1)
        result[name] = float(number)
    loop = "for i in 1 2 3 4 5 6 7 8 9 10; do python3 -c pass; done"
    began = time.monotonic()
    subprocess.run([*around, "sh", "-c", loop], check=True)
    result["10 x python3 -c pass"] = (time.monotonic() - began) * 1e9
    return result


def print_table(bare: dict[str, list[float]], wrapped: dict[str, list[float]]) -> None:
    print("| operation | bare, ns | wrapped / bare | difference, ns | |")
    print("| --- | ---: | ---: | ---: | --- |")
    for name in bare:
        one, other = statistics.median(bare[name]), statistics.median(wrapped[name])
        kind = "not wrapped" if name in NOT_WRAPPED else ""
        print(f"| {name} | {one:.0f} | {other / one:.2f} | {other - one:+.0f} | {kind} |")


def main() -> None:
    options = parse()
    program = str(options.build / "bench/overhead")
    with tempfile.TemporaryDirectory(prefix="torpor-overhead-") as directory:
        launcher = [str(options.build / "torpor"), "launch", "--mode", "wrapped", "--dir", directory, "--"]
        series: list[dict[str, list[float]]] = [{}, {}]
        for turn in range(options.rounds + 1):
            for who in ((0, 1) if turn % 2 else (1, 0)):
                for name, value in figures(launcher if who else [], program).items():
                    if turn > 0:
                        series[who].setdefault(name, []).append(value)
    print_table(*series)


if __name__ == "__main__":
    main()
