"""Those who checkpoint and restart: torpor, and CRIU where there is one that works."""

import ctypes
import json
import os
import pathlib
import shutil
import time
from typing import NamedTuple, Optional, Protocol

from host import ORDINARY_UID, SELF, Failure, Host, User
from program import Program
from works import MIB, Work


class Taken(NamedTuple):
    """A checkpoint after which the program went on."""
    image: pathlib.Path
    command_s: float   # until the command came back
    durable_s: float   # until the image would have survived a loss of power
    own_words: dict    # what the command itself said about it


class Driver(Protocol):
    name: str

    def start(self, program: Program) -> None:
        """Starts it so that it can be checkpointed."""

    def checkpoint(self, program: Program) -> Taken:
        """The program goes on."""

    def restart(self, program: Program) -> None:
        """Of the last checkpoint, when the program has been killed. Returns when the command does."""


class Torpor:
    """`torpor launch`, `checkpoint` and `restart --detach`, as root or as an ordinary user."""

    def __init__(self, where: Host, binary: pathlib.Path, name: str, user: User):
        self.name = name
        self._host = where
        self._user = user
        self._binary = where.disk / "torpor"
        if not self._binary.exists():  # a place where every user can run it
            shutil.copy(binary, self._binary)
            self._binary.chmod(0o755)
        self._images = where.directory(f"{name}-images", user)
        self._environment = {"TORPOR_DIR": str(self._images), "HOME": str(self._images),
                             "XDG_RUNTIME_DIR": str(where.directory(f"{name}-run", user))}

    def start(self, program: Program) -> None:
        shutil.rmtree(self._images / "bench", ignore_errors=True)
        command = ["launch", "--name", "bench", "--dir", str(self._images), "--", *program.command()]
        log = self._host.disk / f"{self.name}.log"
        log.write_bytes(b"")
        log.chmod(0o666)  # a restart opens it again as the user
        child = self._host.start([str(self._binary), *command], self._user, log,
                                 **self._environment)
        while not program.get("ready"):
            if child.poll() is not None:
                raise Failure(f"torpor launch: status {child.returncode}: {last_line(log)}")
            time.sleep(0.002)

    def checkpoint(self, program: Program) -> Taken:
        start = time.perf_counter()
        output = self._torpor("checkpoint", "bench", "--json")
        taken = time.perf_counter() - start
        own_words = json.loads(output)
        return Taken(pathlib.Path(own_words["image"]), taken, taken, own_words)

    def restart(self, program: Program) -> None:
        self._torpor("restart", "bench", "--detach")

    def launch_and_wait(self, command: list[str]) -> str:
        """Its standard output, of a program that ends by itself."""
        return self._torpor("launch", "--name", "bench", "--", *command)

    def _torpor(self, *words: str) -> str:
        return self._host.run([str(self._binary), *words], self._user, **self._environment)


class Criu:
    """Options that make it do no more than is asked of torpor, and write a log of errors alone."""

    name = "CRIU"

    def __init__(self, where: Host, binary: pathlib.Path):
        self._host = where
        self._binary = binary
        self._images = where.disk / "criu-images"

    def start(self, program: Program) -> None:
        self._host.start(program.command())

    def checkpoint(self, program: Program) -> Taken:
        self._host.directory(self._images.name)
        start = time.perf_counter()
        self._criu("dump", "--tree", str(program.pids()[0]), "--leave-running")
        taken = time.perf_counter() - start
        sync_disk(self._images)
        durable = time.perf_counter() - start
        return Taken(self._images, taken, durable, {})

    def restart(self, program: Program) -> None:
        self._criu("restore", "--restore-detached")

    def version(self) -> str:
        return " ".join(self._host.run([str(self._binary), "--version"]).split())

    def self_check(self) -> None:
        """Raises Failure with the reason if it cannot do here what it is to be compared in."""
        check_cycle(self, self._host)

    def _criu(self, action: str, *words: str) -> None:
        log = self._host.disk / "criu.log"
        log.unlink(missing_ok=True)
        try:
            self._host.run([str(self._binary), action, "--no-default-config", "--manage-cgroups=ignore",
                            "-v1", "--log-file", str(log), "--images-dir", str(self._images), *words])
        except Failure as failure:
            raise Failure(f"{failure} {last_line(log)}") from None


def last_line(log: pathlib.Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else ""


def sync_disk(directory: pathlib.Path) -> None:
    """What CRIU leaves to its caller, in the way that costs least: the disk was at rest before."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs", str(directory))
    finally:
        os.close(fd)


def check_cycle(driver: Driver, where: Host) -> None:
    """A whole cycle with a tree of threads and processes, unmeasured."""
    program = Program(where, Work("check", "", random=MIB, threads=4, processes=3), "check")
    try:
        driver.start(program)
        program.await_ready()
        driver.checkpoint(program)
        program.expect_intact()
        program.kill()
        where.await_nobody(10)
        since = time.time_ns()
        program.set("waiting_since", since)
        driver.restart(program)
        program.await_first_lap(since)
        program.expect_intact()
    finally:
        where.end_everything()
        program.close()


def torpors(where: Host, binary: pathlib.Path) -> list[Torpor]:
    """As root and as an ordinary user, or as whom the bench has."""
    if os.geteuid() != 0:
        return [Torpor(where, binary, "torpor-user", SELF)]
    return [Torpor(where, binary, "torpor-root", SELF),
            Torpor(where, binary, "torpor-user", User(ORDINARY_UID))]


def working_criu(where: Host, path: Optional[str]) -> tuple[Optional[Criu], str]:
    """One that has shown that it works, and what is to be said about it or about its absence."""
    found = shutil.which(path or "criu")
    if not found:
        return None, f"there is no {path or 'criu'}; --criu PATH or $TORPOR_BENCH_CRIU name one"
    if os.geteuid() != 0:
        return None, "it needs root, which this run does not have"
    criu = Criu(where, pathlib.Path(found).absolute())
    try:
        version = criu.version()
        criu.self_check()
    except Failure as failure:
        return None, f"{found} does not work on this host: {failure}"
    return criu, version
