"""What is measured: the programs, and what there is to reach."""

from typing import NamedTuple, Optional

MIB = 1 << 20
GIB = 1 << 30
PAGE = 4096


class Work(NamedTuple):
    """A program that is checkpointed, and the ratio to CRIU that its pause has to reach."""
    name: str
    what: str
    random: int = 0      # bytes in each process
    zeros: int = 0       # touched, in each process
    threads: int = 2     # of the first process; the spinning one is the second
    processes: int = 1
    pause_target: float = 1.0

    def arguments(self) -> list[str]:
        return [f"--{field}" if word is None else str(word)
                for field in ("random", "zeros", "threads", "processes")
                for word in (None, getattr(self, field))]

    def answers(self) -> int:
        """How many processes and waiting threads answer when they are asked."""
        return self.processes + self.threads - 2

    def memory(self) -> int:
        return (self.random + self.zeros) * self.processes


class Running(NamedTuple):
    """A program that runs under `torpor launch` and bare."""
    name: str
    what: str
    kind: str
    count: int


WORKS = [
    Work("small", "1 MiB", random=MIB),
    Work("random-1g", "1 GiB incompressible", random=GIB, pause_target=1 / 20),
    Work("zeros-1g", "1 GiB touched zeros", zeros=GIB, pause_target=1 / 20),
    Work("random-4g", "4 GiB incompressible", random=4 * GIB, pause_target=1 / 50),
    Work("threads-1000", "1,000 threads", random=MIB, threads=1000),
    Work("tree-16", "16 processes", random=MIB // 16, processes=16),
    Work("tree-64", "64 processes", random=MIB // 16, processes=64),
    Work("tree-256", "256 processes", random=MIB // 16, processes=256),
]
RUNNING = [
    Running("syscalls", "system calls", "syscalls", 1_000_000),
    Running("forks", "fork, exec, wait", "forks", 4000),
]

# Small enough to see in seconds that everything works. Nothing can be concluded from them.
QUICK_WORKS = [
    Work("small", "1 MiB", random=MIB),
    Work("random-64m", "64 MiB incompressible", random=64 * MIB),
    Work("zeros-64m", "64 MiB touched zeros", zeros=64 * MIB),
    Work("threads-100", "100 threads", random=MIB, threads=100),
    Work("tree-16", "16 processes", random=MIB // 16, processes=16),
]
QUICK_RUNNING = [
    Running("syscalls", "system calls", "syscalls", 100_000),
    Running("forks", "fork, exec, wait", "forks", 200),
]

# Of the pause: a work's own. Of the others, for every work:
DURABLE_TARGET = 1.0     # time until durable, to CRIU's
RESTART_TARGET = 1.0     # time to the first instruction, to CRIU's
WRITE_TARGET = 0.8       # durable write, as a part of dd's speed; of works that are mostly writing
SIZE_TARGET = 1.02       # image, to the touched pages that are not zeros
WRITE_MATTERS = 64 * MIB


def selected(names: Optional[list[str]], quick: bool) -> tuple[list[Work], list[Running]]:
    """The works whose names are given, or all. Raises ValueError for a name that there is not."""
    works, running = (QUICK_WORKS, QUICK_RUNNING) if quick else (WORKS, RUNNING)
    if names is None:
        return works, running
    known = [work.name for work in [*works, *running]]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no work {', '.join(unknown)}; there are {', '.join(known)}")
    return ([work for work in works if work.name in names],
            [work for work in running if work.name in names])
