"""What the fault tests share: a program in which any harm shows, and looking for what was left behind.

Environment: TORPOR_STEADY (the program of steady.c), besides that of torpor_testing.
"""

import contextlib
import ctypes
import os
import pathlib
import random
import re
import signal
import subprocess
import threading
import time

from torpor_testing import (  # the exit codes for the tests, too
    BAD_IMAGE, CONFLICT, HOST_LACKS, INTERNAL, IO, NOT_FOUND, PATIENCE, PERMISSION, PROGRAM_GONE,
    REFUSED, TIMEOUT, TorporTest, descendants, describe_process, is_alive, known_children,
    reap_orphans, wait_until)

KILLED = -signal.SIGKILL

CHECKPOINT_STEPS = ("look", "stop", "enter", "capture", "copy", "snapshot", "leave", "resume",
                    "write", "commit", "committed")
RESTART_STEPS = ("look", "identify", "grow", "open", "load", "describe", "thread", "finish", "drop",
                 "hold", "release")
EXIT_OF_ACTION = {"kill": KILLED, "fail": INTERNAL, "full": IO}

MASK = (1 << 64) - 1


# ------------------------------------------------------------------------------- the program


def next_hash(value: int, step: int) -> int:
    return ((value ^ step) * 6364136223846793005 + 1442695040888963407) & MASK


class Hashes:
    """What steady prints: the hash of each step."""

    def __init__(self):
        self.known = [next_hash(0, 0)]
        self.lock = threading.Lock()

    def __getitem__(self, step: int) -> int:
        with self.lock:
            while len(self.known) <= step:
                self.known.append(next_hash(self.known[-1], len(self.known)))
            return self.known[step]


HASHES = Hashes()


class SteadyOutput:
    """Reads what one run of steady prints, and checks that each step follows upon the one before."""

    def __init__(self, stream):
        self.first: int | None = None  # step
        self.last = -1
        self.ready: tuple[int, ...] = ()  # pids
        self.steps_at_end: int | None = None
        self.wrong: list[str] = []
        self.thread = threading.Thread(target=self.read, args=(stream,), daemon=True)
        self.thread.start()

    def read(self, stream) -> None:
        with contextlib.suppress(ValueError, OSError):  # closed meanwhile
            for line in stream:
                self.take(line.decode(errors="replace"))

    def take(self, line: str) -> None:
        words = line.split()
        if words and words[0] == "step" and len(words) == 3 and line.endswith("\n"):
            step = int(words[1])
            if self.first is None:
                self.first = step
            elif step != self.last + 1:
                self.wrong.append(f"{line!r} after step {self.last}")
            if int(words[2], 16) != HASHES[step]:
                self.wrong.append(f"{line!r} instead of {HASHES[step]:016x}")
            self.last = step
        elif words and words[0] == "ready":
            self.ready = tuple(int(word) for word in words[1:])
        elif words and words[0] == "ok" and int(words[1]) == self.last + 1:
            self.steps_at_end = int(words[1])
        else:
            self.wrong.append(f"{line!r} after step {self.last}")


class Steady:
    """One run of steady: as it was started, or as it was brought back."""

    def __init__(self, test: "FaultTest", process: subprocess.Popen, pid: int | None):
        self.test, self.process = test, process
        self.output = SteadyOutput(process.stdout)
        self.pid = pid  # None: whatever it tells (of no use in another pid namespace)

    def wait_for_steps(self, more: int = 3) -> None:
        """Returns when it has gone on by so many steps."""
        wanted = self.output.last + more
        try:
            wait_until(lambda: self.output.last >= wanted or self.output.wrong or
                       not self.output.thread.is_alive(), "the program goes on")
        except AssertionError as error:
            raise AssertionError(f"{error}: step {self.output.last}, {self.describe()}") from error
        self.check()
        if self.output.last < wanted:
            status = self.process.wait(PATIENCE)
            self.test.fail(f"the program has ended with {status} at step {self.output.last}: "
                           f"{self.errors()}")

    def check(self) -> None:
        if self.output.wrong:
            self.test.fail(f"{self.output.wrong}: {self.errors()}")

    def describe(self) -> str:
        pids = [self.process.pid, *descendants(self.process.pid)]
        return "; ".join(f"{describe_process(pid)} {wait_channel(pid)}" for pid in pids)

    def errors(self) -> str:
        """What it has written to stderr; whoever still has that open is not waited for."""
        os.set_blocking(self.process.stderr.fileno(), False)
        return (self.process.stderr.read() or b"").decode(errors="replace")

    def end(self) -> None:
        """Ends it as its user would; everything that it printed has to be right to the last byte."""
        self.process.send_signal(signal.SIGTERM)
        status = self.test.wait(self.process)
        self.output.thread.join(PATIENCE)
        self.check()
        self.test.assertEqual(status, 0, self.errors())
        self.test.assertEqual(self.output.steps_at_end, self.output.last + 1)


def wait_channel(pid: int) -> str:
    found = []
    for task in contextlib_listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            base = pathlib.Path(f"/proc/{pid}/task/{task}")
            state = re.search(r"State:\t(\S)", (base / "status").read_text()).group(1)
            tracer = re.search(r"TracerPid:\t(\d+)", (base / "status").read_text()).group(1)
            found.append(f"{task}:{state}:{(base / 'wchan').read_text()}:tracer {tracer}")
    return " ".join(found)


def contextlib_listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


# ------------------------------------------------------------------------------- looking at it


STATUS_LINES = ("Name", "Umask", "Tgid", "Ngid", "Pid", "PPid", "TracerPid", "Uid", "Gid", "FDSize",
                "Groups", "Threads", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt",
                "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
                "Cpus_allowed")


def picture_of(pid: int) -> dict:
    """What /proc shows of a process and must not change by a checkpoint."""
    base = pathlib.Path(f"/proc/{pid}")
    lines = dict(line.split(":", 1) for line in (base / "status").read_text().splitlines())
    descriptors = {}
    for number in os.listdir(base / "fd"):
        flags = re.search(r"flags:\s*(\d+)", (base / "fdinfo" / number).read_text()).group(1)
        descriptors[int(number)] = (os.readlink(base / "fd" / number), flags)
    # What is free of a stack, and what of the heap, is the program's own affair.
    areas = [line.split()[:2] + line.split()[5:] for line in (base / "maps").read_text().splitlines()
             if "[stack]" not in line]
    return {"status": {name: lines[name].strip() for name in STATUS_LINES if name in lines},
            "descriptors": descriptors, "tasks": sorted(os.listdir(base / "task")), "areas": areas,
            "children": sorted(descendants(pid))}


def differences(before: dict, now: dict) -> list[str]:
    changed = [f"{name}: {before[name]} became {now[name]}" for name in before
               if before[name] != now[name] and name != "areas"]
    changed += [f"area gone: {area}" for area in before["areas"] if area not in now["areas"]]
    changed += [f"area new: {area}" for area in now["areas"] if area not in before["areas"]]
    return changed


def mounts() -> list[str]:
    """Of this namespace, by place and kind."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted(" ".join(line.split()[3:5]) for line in lines)


# ------------------------------------------------------------------------------- the test case


def is_agents(change: str) -> bool:
    """A new area that is the agent's: its code, its data, or the room in which threads answer."""
    found = re.fullmatch(r"area new: \['([0-9a-f]+)-([0-9a-f]+)', '(r-xp|rw-p)'\]", change)
    return found is not None and int(found[2], 16) - int(found[1], 16) <= 128 << 10


def without_merged(changes: list[str]) -> list[str]:
    """The kernel makes one area of two that touch: the one that was there before is in a new one."""
    shape = re.compile(r"area (gone|new): \['([0-9a-f]+)-([0-9a-f]+)', '(....)'\]")
    found = [shape.fullmatch(change) for change in changes]
    new = [(int(f[2], 16), int(f[3], 16), f[4]) for f in found if f is not None and f[1] == "new"]

    def is_within_new(area: re.Match | None) -> bool:
        return area is not None and area[1] == "gone" and any(
            start <= int(area[2], 16) and int(area[3], 16) <= end and rights == area[4]
            for start, end, rights in new)

    return [change for change, area in zip(changes, found) if not is_within_new(area)]


class FaultTest(TorporTest):
    """Runs steady, disturbs torpor, and sees to it that nobody was harmed and nothing is left."""

    NAME = "it"  # of the computation
    launch_options: tuple[str, ...] = ()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.steady_path = cls.reachable(os.environ["TORPOR_STEADY"])

    def setUp(self):
        super().setUp()
        self.mounts = mounts()
        self.steadies: list[Steady] = []

    @contextlib.contextmanager
    def case(self, *what):
        """Says in which case something failed. What is wrong after it would prove nothing."""
        name = " ".join(str(word) for word in what)
        try:
            yield
        except Exception as error:
            raise AssertionError(f"{name}: {error}") from error

    # --- the program

    def start_steady(self, *options, **settings) -> Steady:
        """Bare, without a supervisor."""
        process = self.start(self.user_command(self.steady_path, *options), **settings)
        return self.watch(process, process.pid)

    def launch_steady(self, *options, fault: str | None = None) -> Steady:
        """Under `torpor launch`."""
        process = self.start_torpor("launch", "--name", self.NAME, *self.launch_options, "--",
                                    self.steady_path, *options, env=self.with_fault(fault))
        steady = self.watch(process, None)
        steady.pid = steady.output.ready[0]
        self.computation(self.NAME)  # it can be asked, too
        return steady

    def watch(self, process: subprocess.Popen, pid: int | None) -> Steady:
        steady = Steady(self, process, pid)
        self.steadies.append(steady)
        steady.wait_for_steps(2)
        return steady

    def with_fault(self, fault: str | None) -> dict:
        return dict(self.environment, TORPOR_FAULT=fault) if fault else self.environment

    def bring_back(self, image: str | None = None, *options, **settings) -> Steady:
        process = self.start_torpor("restart", image or self.NAME, *options, **settings)
        try:
            return self.watch(process, None)
        except AssertionError as error:
            process.kill()
            raise AssertionError(f"{error}: {process.stderr.read().decode()}") from error

    def assert_restarts(self, image: str, after: int, until: int) -> None:
        """It goes on with a step from after + 1 to until + 1, and ends as it should."""
        steady = self.bring_back(image)
        self.assertTrue(after < steady.output.first <= until + 1,
                        f"{image}: {after} < {steady.output.first} <= {until + 1}")
        steady.end()
        self.assert_no_processes(image)

    # --- torpor

    def checkpoint(self, target, *options, fault: str | None = None,
                   **settings) -> subprocess.CompletedProcess:
        return self.torpor("checkpoint", target, *options, env=self.with_fault(fault), **settings)

    def checkpoint_ok(self, steady: Steady, *options) -> tuple[int, int]:
        """Of a bare one. The steps between which it was taken: the last that was printed for sure
        before, and the last that can have been."""
        before = steady.output.last
        name = () if "--name" in options else ("--name", self.NAME)
        self.torpor_ok("checkpoint", steady.pid, *name, *options)
        if "--kill" in options:
            wait_until(lambda: not is_alive(steady.pid), "the program has been ended")
            steady.output.thread.join(PATIENCE)
            steady.check()
            return steady.output.last, steady.output.last
        steady.wait_for_steps(1)
        return before, steady.output.last

    def image_of_killed(self, *options) -> int:
        """Makes one image; returns the last step that the program had printed."""
        return self.checkpoint_ok(self.start_steady(*options), "--kill")[0]

    # --- what has to be

    def generations(self) -> list[str]:
        return sorted((name for name in self.names_in_store() if name.isdigit()), key=int)

    def names_in_store(self) -> list[str]:
        return contextlib_listdir(str(self.image_path().parent / self.NAME))

    def image_path(self, generation: str | int = "") -> pathlib.Path:
        return self.directory / "store" / self.NAME / str(generation)

    def assert_images_sound(self, at_least: int) -> None:
        """Whatever can be seen as an image is one."""
        found = self.generations()
        self.assertGreaterEqual(len(found), at_least, found)
        for generation in found:
            self.torpor_ok("verify", f"{self.NAME}@{generation}")

    def leftovers(self) -> list[str]:
        """Processes that are neither ours nor of the programs that we watch."""
        reap_orphans()
        ours = {process.pid for process in self.processes}
        for steady in self.steadies:
            if steady.pid is not None and is_alive(steady.pid):
                ours |= {steady.pid, *steady.output.ready}
            elif steady.process.poll() is None:
                ours |= {steady.process.pid, *descendants(steady.process.pid)}
        return [describe_process(pid) for pid in descendants(os.getpid())
                if pid not in ours and is_alive(pid)]

    def assert_no_processes(self, what: str = "") -> None:
        deadline = time.monotonic() + 5
        while left := self.leftovers():
            if time.monotonic() > deadline:
                self.fail(f"{what}: processes were left behind:\n" + "\n".join(left))
            time.sleep(0.01)

    def assert_nothing_left(self, what: str = "", allowed: tuple[str, ...] = ()) -> None:
        """No process, no mount, no temporary file, nothing unfinished in the store, no socket."""
        self.assert_no_processes(what)
        self.assertEqual(mounts(), self.mounts, what)
        found = [str(path.relative_to(self.directory)) for name in ("tmp", "home", "run")
                 for path in (self.directory / name).rglob("*") if path.name != "torpor"]
        found += [name for name in self.names_in_store() if not name.isdigit()]
        self.assertEqual([name for name in found if name not in allowed], [], what)

    def assert_unharmed(self, steady: Steady, before: dict[int, dict], what: str = "",
                        area_may_stay: bool = False) -> None:
        """It goes on, and is as it was."""
        steady.wait_for_steps()
        for pid, picture in before.items():
            self.assert_same_picture(pid, picture, what, area_may_stay)

    def assert_same_picture(self, pid: int, before: dict, what: str = "",
                            area_may_stay: bool = False) -> None:
        """At once, or as soon as what a killed torpor has left in there has gone; memory of the
        agent may stay for good (docs/decisions/0008-known-windows.md)."""
        begun = time.monotonic()
        deadline = begun + PATIENCE
        while changed := differences(before, picture_of(pid)):
            if area_may_stay and time.monotonic() > begun + 0.3 and all(
                    map(is_agents, without_merged(changed))):
                return
            if time.monotonic() > deadline:
                self.fail(f"{what}: process {pid}: {changed}")
            time.sleep(0.02)

    def pictures(self, steady: Steady) -> dict[int, dict]:
        return {pid: picture_of(pid) for pid in steady.output.ready}

    def assert_said(self, done: subprocess.CompletedProcess, status: int, *words: str) -> None:
        """It failed with this status and a message of torpor's that holds the words."""
        self.assert_fails(done, status, *words)
        self.assertRegex(done.stderr, r"(?m)^torpor: \S")
        self.assertNotIn("terminate called", done.stderr)

    # --- killing at any moment

    def run_and_kill(self, command: list[str], seconds: float, **settings) -> subprocess.Popen:
        """Starts a command and kills it after so long, unless it has ended before."""
        process = self.start(command, **settings)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.wait()
        return process

    def moments(self, count: int, longest: float) -> list[float]:
        """At which to kill; one seed for each run, so that all runs together see many."""
        seed = int(os.environ.get("TORPOR_SEED", random.SystemRandom().randrange(1 << 30)))
        print(f"TORPOR_SEED={seed}", flush=True)
        source = random.Random(seed)
        return [source.uniform(0, longest) for _ in range(count)]


class FromInside:
    """Before FaultTest: programs of the wrapped mode, and restarts with the pid table, all in a plain
    container."""

    environment_of_all = "c"
    launch_options = ("--mode", "wrapped")

    def torpor_command(self, *words):
        if words[0] == "restart":
            words = (*words, "--identity", "table")
        return super().torpor_command(*words)

    def image_of_killed(self, *options) -> int:
        steady = self.launch_steady(*options)
        self.torpor_ok("checkpoint", self.NAME, "--kill")
        self.wait(steady.process)
        steady.output.thread.join(PATIENCE)
        steady.check()
        return steady.output.last
