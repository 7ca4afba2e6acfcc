"""Where the bench works, and everything that it starts: each process bears a mark in its environment,
so that none can be left behind unseen."""

import ctypes
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from typing import NamedTuple, Optional

MARK = "TORPOR_BENCH_RUN"
LIMIT = 180  # seconds, of any single command
PR_SET_CHILD_SUBREAPER = 36
ORDINARY_UID = 65534


class Failure(Exception):
    """Something that is measured did not do what it should."""


class User(NamedTuple):
    """Who runs a command; None means: as the bench does."""
    uid: Optional[int]

    def popen_options(self) -> dict:
        if self.uid is None:
            return {}
        group = pwd.getpwuid(self.uid).pw_gid
        return {"user": self.uid, "group": group, "extra_groups": []}


SELF = User(None)


class Host:
    """Directories of one run of the bench, on the disk that is measured and in memory."""

    def __init__(self, parent: pathlib.Path, programs: pathlib.Path):
        self.disk = pathlib.Path(tempfile.mkdtemp(prefix="torpor-bench-", dir=parent))
        self.memory = pathlib.Path(tempfile.mkdtemp(prefix="torpor-bench-", dir="/dev/shm"))
        self.token = self.disk.name
        self.programs = programs
        self._children: dict[int, subprocess.Popen] = {}
        for directory in (self.disk, self.memory):
            directory.chmod(0o755)
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_):
        try:
            self.end_everything()
        finally:
            shutil.rmtree(self.disk, ignore_errors=True)
            shutil.rmtree(self.memory, ignore_errors=True)

    def directory(self, name: str, user: User = SELF) -> pathlib.Path:
        """An empty directory of the user's on the disk."""
        path = self.disk / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        if user.uid is not None:
            os.chown(path, user.uid, pwd.getpwuid(user.uid).pw_gid)
        return path

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C.UTF-8", MARK: self.token, **more}

    def start(self, command: list[str], user: User = SELF, log: Optional[pathlib.Path] = None,
              **environment: str) -> subprocess.Popen:
        """Starts it in a session of its own, so that no terminal has a part in it."""
        with open(log or os.devnull, "ab") as output:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                     stderr=output, start_new_session=True, cwd="/",
                                     env=self.environment(environment), **user.popen_options())
        self._children[child.pid] = child
        return child

    def run(self, command: list[str], user: User = SELF, **environment: str) -> str:
        """Its standard output. Raises Failure with its last words if it fails or hangs."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as words:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=words,
                                     cwd="/", env=self.environment(environment),
                                     **user.popen_options())
            try:
                status = child.wait(LIMIT)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                status = f"after {LIMIT} s without an end"
            output.seek(0)
            words.seek(0)
            if status != 0:
                last = words.read().decode(errors="replace").strip().splitlines()[-3:]
                raise Failure(f"{' '.join(command[:2])}: status {status}: {' / '.join(last)}")
            return output.read().decode()

    def processes(self) -> list[int]:
        """Those of this run, but for the dead ones."""
        mark = f"{MARK}={self.token}".encode()
        return [pid for pid in all_pids() if mark in read_proc(pid, "environ").split(b"\0")]

    def end_everything(self) -> list[str]:
        """Kills what is still there, and says what it was."""
        left = [f"{pid} ({read_proc(pid, 'comm').decode().strip()})" for pid in self.processes()]
        deadline = time.monotonic() + 30
        while self._anybody():
            pids = self.processes()
            if time.monotonic() > deadline:
                raise Failure(f"processes that cannot be killed: {pids}")
            for pid in pids:
                kill(pid, signal.SIGKILL)
            self.reap()
            time.sleep(0.005)
        return left

    def await_nobody(self, seconds: float) -> None:
        """Waits for the processes of this run to end by themselves. Raises Failure, naming them."""
        deadline = time.monotonic() + seconds
        while self._anybody() and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.005)
        if left := self.end_everything():
            raise Failure(f"left behind: {', '.join(left)}")

    def _anybody(self) -> bool:
        """One that is dying has no environment any more, but still has its pid."""
        return bool(children_of_self() or self.processes())

    def reap(self) -> None:
        """Collects the dead: our children, and the orphans that have become ours."""
        for child in list(self._children.values()):
            if child.poll() is not None:
                del self._children[child.pid]
        for pid in children_of_self():
            if pid not in self._children:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass  # reaped between looking and now


def children_of_self() -> list[int]:
    tasks = pathlib.Path("/proc/self/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text().split()]


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def read_proc(pid: int, name: str) -> bytes:
    """Empty if the process is gone, dead, or somebody else's."""
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def settle() -> None:
    """Nothing is left to be written that an earlier step has put off."""
    os.sync()
    time.sleep(0.1)
