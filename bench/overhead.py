#!/usr/bin/python3
"""What a running program pays in the wrapped mode: the same operations bare, under a seccomp filter of one
instruction that lets all pass (the floor of any filter), under `torpor launch --mode wrapped`, and after a
restart with the pid table, in turns in the same run. Prints medians and ratios.

usage: overhead.py [--build DIR] [--rounds N]
"""

import argparse
import dataclasses
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Not led into the agent: the filter itself is all that they may feel. After a restart getpid is.
NOT_WRAPPED = {"getpid", "pipe write+read", "open+close", "mmap+munmap", "futex ping-pong"}
STARTS = "10 x python3 -c pass"
SCRIPT = """
while [ -n "$1" ] && [ ! -e "$1" ]; do sleep 0.01; done
begin=$(date +%s%N)
for i in 1 2 3 4 5 6 7 8 9 10; do python3 -c pass; done
end=$(date +%s%N)
echo "10 x python3 -c pass $((end - begin))"
"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--rounds", type=int, default=5, help="counted ones, besides one to get warm")
    return parser.parse_args()


@dataclasses.dataclass
class Bench:
    build: pathlib.Path
    directory: pathlib.Path

    def torpor(self, *words: str) -> list[str]:
        command, *rest = words
        return [str(self.build / "torpor"), command, "--dir", str(self.directory), *rest]

    def launcher(self) -> list[str]:
        return self.torpor("launch", "--mode", "wrapped", "--name", "bench", "--")

    def bare(self, command: list[str]) -> str:
        return output_of(command)

    def filtered(self, command: list[str]) -> str:
        return output_of([str(self.build / "bench/overhead"), "--under-filter", *command])

    def wrapped(self, command: list[str]) -> str:
        return output_of([*self.launcher(), *command])

    def restarted(self, command: list[str]) -> str:
        """As it waits for a file it is saved, and ended; then it is brought back and begins."""
        go, written = self.directory / "go", self.directory / "output"
        go.unlink(missing_ok=True)
        with written.open("w") as output:
            program = subprocess.Popen([*self.launcher(), *command, str(go)], stdout=output,
                                       stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.save_and_end()
            program.wait()
            back = subprocess.Popen(self.torpor("restart", "bench", "--identity", "table"),
                                    stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            go.touch()
            if back.wait() != 0:
                raise SystemExit(f"after the restart {command[0]} ended with {back.returncode}")
        return written.read_text()

    def save_and_end(self) -> None:
        """As soon as it runs; it may not have begun yet."""
        for _ in range(100):
            done = subprocess.run([str(self.build / "torpor"), "checkpoint", "--kill", "bench"], check=False,
                                  capture_output=True, text=True)
            if done.returncode == 0:
                return
        raise SystemExit(f"no checkpoint: {done.stderr}")


def output_of(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def figures(run, program: str) -> dict[str, float]:
    """Nanoseconds by operation; the starts of an interpreter in a process tree that does nothing else."""
    result = {}
    for command in ([program], ["sh", "-c", SCRIPT, "sh"]):
        for line in run(command).splitlines():
            name, number = line.rsplit(" ", 1)
            result[name] = float(number)
    return result


def print_table(bare: dict[str, list[float]], *others: dict[str, list[float]]) -> None:
    """Of each of the others the ratio to the bare one, and the difference."""
    print("| operation | bare, ns | empty filter | ns | wrapped | ns | restarted | ns | |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for name in bare:
        one = statistics.median(bare[name])
        medians = [statistics.median(series[name]) for series in others]
        cells = " | ".join(f"{other / one:.2f} | {other - one:+.0f}" for other in medians)
        print(f"| {name} | {one:.0f} | {cells} | {'not wrapped' if name in NOT_WRAPPED else ''} |")


def main() -> None:
    options = parse()
    program = str(options.build / "bench/overhead")
    with tempfile.TemporaryDirectory(prefix="torpor-overhead-") as directory:
        bench = Bench(options.build, pathlib.Path(directory))
        runs = [bench.bare, bench.filtered, bench.wrapped, bench.restarted]
        series: list[dict[str, list[float]]] = [{} for _ in runs]
        for turn in range(options.rounds + 1):
            for i in range(len(runs)):
                who = (turn + i) % len(runs)
                for name, value in figures(runs[who], program).items():
                    if turn > 0:
                        series[who].setdefault(name, []).append(value)
    print_table(*series)


if __name__ == "__main__":
    main()
