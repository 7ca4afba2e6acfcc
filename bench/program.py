"""The workload as the bench sees it: its board (board.h), its processes, and questions to it."""

import mmap
import pathlib
import signal
import struct
import time
from typing import Callable

import host
from host import Failure, Host
from works import Work

FIELDS = ["longest_gap_ns", "longest_gap_at", "last_lap", "first_lap", "waiting_since",
          "ready", "answered", "wrong", "forked", "fork_ns"]
PATIENCE = 120  # seconds


class Program:
    """One run of the workload, through checkpoints and restarts."""

    def __init__(self, where: Host, work: Work, name: str):
        self.work = work
        self._host = where
        self._path = where.memory / name
        self._path.write_bytes(bytes(mmap.PAGESIZE))
        self._path.chmod(0o666)
        with open(self._path, "r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def close(self) -> None:
        self._page.close()
        self._path.unlink()

    def command(self) -> list[str]:
        return [str(self._host.programs / "workload"), str(self._path), *self.work.arguments()]

    def get(self, field: str) -> int:
        return struct.unpack_from("<Q", self._page, 8 * FIELDS.index(field))[0]

    def set(self, field: str, value: int) -> None:
        struct.pack_into("<Q", self._page, 8 * FIELDS.index(field), value)

    def pids(self) -> list[int]:
        """Of the workload's processes as this host numbers them, the first one first."""
        words = "\0".join(self.command()).encode() + b"\0"
        found = [pid for pid in host.all_pids() if host.read_proc(pid, "cmdline") == words]
        return sorted(found, key=lambda pid: (parent_of(pid) in found, pid))

    def await_ready(self) -> None:
        self._await(lambda: self.get("ready") == self.work.answers() and self.get("last_lap"),
                    "is not ready")

    def forget_gaps(self) -> None:
        """From here on the longest gap is looked for; whoever calls leaves time for a few laps."""
        time.sleep(0.02)
        self.set("longest_gap_ns", 0)
        time.sleep(0.02)

    def await_first_lap(self, since_ns: int) -> int:
        """Time from `since_ns` (CLOCK_REALTIME), which was set as `waiting_since`, to the first lap."""
        self._await(lambda: self.get("first_lap"), "did not run again")
        return self.get("first_lap") - since_ns

    def expect_intact(self) -> None:
        """Every process and waiting thread must answer, and find its memory as it was."""
        self.set("answered", 0)
        self._signal(signal.SIGUSR1)
        self._await(lambda: self.get("answered") >= self.work.answers(), "does not answer")
        if wrong := self.get("wrong"):
            raise Failure(f"{wrong} processes found their memory changed")

    def time_fork(self) -> int:
        """How long fork() of each process takes, summed, in ns."""
        self._signal(signal.SIGUSR2)
        self._await(lambda: self.get("forked") >= self.work.processes, "does not fork")
        return self.get("fork_ns")

    def kill(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while pids := self.pids():
            if time.monotonic() > deadline:
                raise Failure(f"the workload cannot be killed: {pids}")
            for pid in pids:
                host.kill(pid, signal.SIGKILL)
            self._host.reap()
            time.sleep(0.002)

    def touched_pages(self) -> tuple[int, int]:
        """How many pages of its own it has that are not zeros, and that are."""
        words = self._host.run([str(self._host.programs / "touched"), *map(str, self.pids())])
        nonzero, zero = map(int, words.split())
        return nonzero, zero

    def _signal(self, number: signal.Signals) -> None:
        pids = self.pids()
        if not pids:
            raise Failure("the workload is gone")
        host.kill(pids[0], number)

    def _await(self, done: Callable[[], object], otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > deadline:
                raise Failure(f"the workload {otherwise} within {PATIENCE} s")
            time.sleep(0.002)


def parent_of(pid: int) -> int:
    stat = host.read_proc(pid, "stat").decode(errors="replace")
    return int(stat.rpartition(")")[2].split()[1]) if stat else 0


def bytes_on_disk(directory: pathlib.Path) -> int:
    """What the files below it occupy: holes do not count."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def bytes_apparent(directory: pathlib.Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())
