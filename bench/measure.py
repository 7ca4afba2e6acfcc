"""One round of a work: with every driver in turn, and the floors."""

import pathlib
import subprocess
import time
from typing import Callable

import host
from drivers import Driver, Torpor
from host import Failure, Host
from program import Program, bytes_apparent, bytes_on_disk
from works import PAGE, Running, Work

Figures = dict[str, float]


def driver_round(driver: Driver, where: Host, work: Work) -> Figures:
    """Start, checkpoint, kill, restart, and a question whether all is as it was."""
    program = Program(where, work, driver.name)
    try:
        driver.start(program)
        program.await_ready()
        figures = time_checkpoint(driver, program)
        program.expect_intact()
        program.kill()
        where.await_nobody(10)
        figures |= time_restart(driver, program)
        program.expect_intact()
        program.kill()
        where.await_nobody(10)
        return figures
    finally:
        where.end_everything()
        program.close()


def time_checkpoint(driver: Driver, program: Program) -> Figures:
    host.settle()
    program.forget_gaps()
    taken = driver.checkpoint(program)
    pause = program.get("longest_gap_ns") / 1e9
    nonzero, zero = program.touched_pages()
    size = bytes_on_disk(taken.image)
    return {"pause": pause, "durable": taken.durable_s, "command": taken.command_s,
            "size": size, "size_apparent": bytes_apparent(taken.image),
            "touched": nonzero * PAGE, "touched_zero": zero * PAGE,
            **{f"said_{key}": value for key, value in taken.own_words.items()
               if isinstance(value, (int, float)) and not isinstance(value, bool)}}


def time_restart(driver: Driver, program: Program) -> Figures:
    host.settle()
    since = time.time_ns()
    program.set("waiting_since", since)
    driver.restart(program)
    came_back = time.time_ns() - since
    return {"restart": program.await_first_lap(since) / 1e9, "restart_command": came_back / 1e9}


def floor_round(where: Host, work: Work, source: pathlib.Path) -> Figures:
    """A fork of the same memory, and its bytes written with dd and copied with memcpy."""
    figures = time_bare(where, work)
    data = max(work.random * work.processes, PAGE)
    figures["dd"] = time_dd(where, source, data)
    figures["memcpy"] = int(where.run([str(where.programs / "floor"), "memcpy",
                                       str(max(work.memory(), PAGE))])) / 1e9
    return figures


def time_bare(where: Host, work: Work) -> Figures:
    """The program alone: how long from its start until it is ready, and how long it takes to fork."""
    program = Program(where, work, "bare")
    try:
        start = time.perf_counter()
        where.start(program.command())
        program.await_ready()
        ready = time.perf_counter() - start
        program.forget_gaps()
        time.sleep(0.2)
        idle = program.get("longest_gap_ns") / 1e9
        program.forget_gaps()
        fork = program.time_fork() / 1e9
        return {"start": ready, "fork": fork, "fork_gap": program.get("longest_gap_ns") / 1e9,
                "idle_gap": idle}
    finally:
        where.end_everything()
        program.close()


def make_source(where: Host, size: int) -> pathlib.Path:
    """Bytes in memory that dd writes: incompressible, as the workload's are."""
    path = where.memory / "source"
    with open("/dev/urandom", "rb") as random, open(path, "wb") as file:
        for start in range(0, size, 1 << 24):
            file.write(random.read(min(1 << 24, size - start)))
    return path


def time_dd(where: Host, source: pathlib.Path, size: int) -> float:
    target = where.disk / "dd"
    host.settle()
    start = time.perf_counter()
    where.run(["dd", f"if={source}", f"of={target}", "bs=4M", f"count={size}",
               "iflag=count_bytes,fullblock", "conv=fsync", "status=none"])
    taken = time.perf_counter() - start
    target.unlink()
    return taken


def running_round(torpors: list[Torpor], where: Host, running: Running) -> Figures:
    """The same program bare, twice, and under each `torpor launch`: the two show the noise."""
    command = [str(where.programs / "running"), running.kind, str(running.count)]
    figures = {"bare": int(where.run(command)) / 1e9}
    for torpor in torpors:
        figures[torpor.name] = int(torpor.launch_and_wait(command)) / 1e9
    figures["bare_again"] = int(where.run(command)) / 1e9
    where.await_nobody(10)
    return figures


def rounds(count: int, parts: dict[str, Callable[[], Figures]],
           say: Callable[[str], None]) -> tuple[dict[str, list[Figures]], dict[str, str]]:
    """All parts in every round, beginning with another one each time; the first round is to get
    warm and is not counted. A part that fails is left out from then on: its reason is returned."""
    figures: dict[str, list[Figures]] = {name: [] for name in parts}
    failures: dict[str, str] = {}
    for number in range(count + 1):
        names = list(parts)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if name in failures:
                continue
            try:
                measured = parts[name]()
            except (Failure, OSError, ValueError, KeyError, subprocess.SubprocessError) as failure:
                failures[name] = f"{type(failure).__name__}: {failure}"
                say(f"{name}: {failures[name]}")
                continue
            if number > 0:
                figures[name].append(measured)
    return figures, failures


def warm_up(where: Host, size: int) -> None:
    """The first touch of memory that the host has not given yet is slow, and nobody's fault."""
    where.run([str(where.programs / "floor"), "warm", str(size)])
