#!/usr/bin/python3
"""Compares torpor with CRIU and with what the machine itself can do: see README.md.

Every work is done by everybody in the same run, in turns; what counts are the ratios of medians.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import sys
from typing import Callable, Optional

sys.dont_write_bytecode = True

import drivers
import measure
import report
import works
from host import Failure, Host
from report import Measured, MeasuredRunning

ROOT = pathlib.Path(__file__).resolve().parents[1]


def say(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("--criu", metavar="PATH", default=os.environ.get("TORPOR_BENCH_CRIU"),
                        help="a CRIU that works on this kernel (default: $TORPOR_BENCH_CRIU, else "
                             "the one in the PATH)")
    parser.add_argument("--quick", action="store_true",
                        help="small works and few runs: shows that the bench works, nothing else")
    parser.add_argument("--only", metavar="WORK,...", type=lambda text: text.split(","),
                        help=", ".join(work.name for work in [*works.WORKS, *works.RUNNING]))
    parser.add_argument("--runs", type=int, metavar="N",
                        help="counted rounds, besides one to get warm (default 5; quick: 2)")
    parser.add_argument("--dir", type=pathlib.Path, default=pathlib.Path("/var/tmp"),
                        help="where images are written (default: %(default)s); every user must be "
                             "able to reach it")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release",
                        help="the build to measure (default: %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE",
                        help="all figures (default: bench.json in the build)")
    options = parser.parse_args()
    options.build = options.build.resolve()
    options.json = options.json or options.build / "bench.json"
    return options


def measure_work(where: Host, work: works.Work, who: list[drivers.Driver], runs: int) -> Measured:
    source = measure.make_source(where, max(work.random * work.processes, works.PAGE))
    parts: dict[str, Callable] = {"floor": lambda: measure.floor_round(where, work, source)}
    for driver in who:
        parts[driver.name] = lambda driver=driver: measure.driver_round(driver, where, work)
    figures, failures = measure.rounds(runs, parts, say)
    source.unlink()
    return Measured(work, figures, failures)


def measure_running(where: Host, running: works.Running, who: list[drivers.Torpor],
                    runs: int) -> MeasuredRunning:
    figures, failures = measure.rounds(
        runs, {"all": lambda: measure.running_round(who, where, running)}, say)
    return MeasuredRunning(running, figures["all"], failures.get("all", ""))


def machine() -> dict:
    huge = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {"kernel": ".".join(platform.release().split(".")[:2]), "cpus": os.cpu_count(),
            "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "huge_pages": huge.read_text().strip() if huge.exists() else "unknown"}


def expect_room(where: Host, chosen: list[works.Work]) -> None:
    """Said before an hour of measuring, not after half of it."""
    need = max([work.memory() for work in chosen], default=0)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    if memory < 3 * need:
        raise Failure(f"{3 * need / works.GIB:.0f} GiB of free memory are needed; there are "
                      f"{memory / works.GIB:.1f}: leave the large works out with --only")
    disk = shutil.disk_usage(where.disk).free
    if disk < 4 * need:
        raise Failure(f"{4 * need / works.GIB:.0f} GiB of free disk are needed in "
                      f"{where.disk.parent}; there are {disk / works.GIB:.1f}: see --dir")


def head(runs: int, quick: bool, criu: str, about: dict) -> str:
    lines = ["# torpor, CRIU and the floor", "",
             f"{about['cpus']} CPUs, kernel {about['kernel']}, huge pages `{about['huge_pages']}`; "
             f"medians of {runs} rounds, everybody in turns; CRIU: {criu}.", ""]
    if quick:
        lines += ["**Quick: the works are too small and the runs too few to conclude anything.**", ""]
    return "\n".join(lines)


def write_json(path: pathlib.Path, about: dict, all_measured: list[Measured],
               running: list[MeasuredRunning], found: list[report.Target]) -> None:
    path.write_text(json.dumps({
        "machine": about,
        "works": [{"name": measured.work.name, "rounds": measured.rounds,
                   "failures": measured.failures} for measured in all_measured],
        "running": [{"name": measured.work.name, "rounds": measured.rounds,
                     "failure": measured.failure} for measured in running],
        "targets": [{**target._asdict(), "reached": target.reached()} for target in found],
    }, indent=1) + "\n")
    say(f"all figures are in {path}")


def bench(options: argparse.Namespace, where: Host) -> int:
    """0 if everything could be measured, whatever came out."""
    chosen, running = works.selected(options.only, options.quick)
    if not os.access(options.json.absolute().parent, os.W_OK):
        raise Failure(f"{options.json} cannot be written; --json names another file")
    runs = options.runs or (2 if options.quick else 5)
    expect_room(where, chosen)
    measure.warm_up(where, max([3 * work.memory() for work in chosen] + [works.GIB]))
    who, criu, words = everybody(options, where)
    measured = []
    for work in chosen:
        say(f"{work.what} ...")
        measured.append(measure_work(where, work, who + criu, runs))
    measured_running = []
    for work in running:
        say(f"{work.what}, running ...")
        measured_running.append(measure_running(where, work, who, runs))
    names = [driver.name for driver in who + criu]
    found = report.targets(measured, measured_running, [driver.name for driver in who], bool(criu))
    print(head(runs, options.quick, words, machine()))
    print(report.render(measured, measured_running, names, found))
    write_json(options.json, machine(), measured, measured_running, found)
    return int(any(one.failures for one in measured) or any(one.failure for one in measured_running))


def everybody(options: argparse.Namespace,
              where: Host) -> tuple[list[drivers.Torpor], list[drivers.Criu], str]:
    binary = options.build / "torpor"
    if not binary.exists():
        raise Failure(f"{binary} is missing; `./dev bench` builds it")
    criu, words = drivers.working_criu(where, options.criu)
    if criu is None:
        say(f"CRIU: {words}; only the ratios to the floor are measured")
    return drivers.torpors(where, binary), [criu] if criu else [], words


def main() -> int:
    options = parse()
    programs = options.build / "bench"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and so clean up
    try:
        with Host(options.dir, programs) as where:
            return bench(options, where)
    except (Failure, ValueError) as failure:
        say(str(failure))
        return 2


if __name__ == "__main__":
    sys.exit(main())
