"""What the end-to-end tests share: running torpor as this or another user, in directories of its own,
with terminals to sit at, and making sure that nothing is left behind.

Environment: TORPOR (the binary), TORPOR_PROGRAMS (the directory of the test programs), TORPOR_STEADY (a
program beside which those of tests/support are).
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

ORDINARY_UID = 65534  # nobody
PATIENCE = 30.0       # seconds until something that has to happen counts as not happening

PR_SET_CHILD_SUBREAPER = 36


# Exit codes, of src/base/error.h.
REFUSED, NOT_FOUND, PERMISSION, BAD_IMAGE, IO = 101, 102, 103, 104, 105
HOST_LACKS, PROGRAM_GONE, CONFLICT, TIMEOUT, INTERNAL = 106, 107, 108, 109, 110


def become_subreaper() -> None:
    """Everything that is orphaned below us comes to us, and so can be found."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def as_user(uid: int | None, command: list[str]) -> list[str]:
    """The command, run as this user without any privilege; None: as we are."""
    if uid is None or uid == os.geteuid():
        return list(command)
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all",
            "--bounding-set=-all", "--", *command]


def wait_until(condition, what: str, seconds: float = PATIENCE):
    """Calls until the result is true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.01)


# ------------------------------------------------------------------------------- processes


def parents() -> dict[int, int]:
    """pid: ppid, of all processes."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = pathlib.Path("/proc", entry, "stat").read_bytes()
                found[int(entry)] = int(stat[stat.rindex(b")") + 2:].split()[1])
    return found


def descendants(pid: int) -> list[int]:
    """All below pid, parents before children."""
    tree = parents()
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in tree.items() if its_parent == parent]
    return found[1:]


def process_state(pid: int) -> str:
    """R, S, T, Z ...; empty if there is no such process."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return stat[stat.rindex(b")") + 2:].split()[0].decode()


def is_alive(pid: int) -> bool:
    return process_state(pid) not in ("", "Z", "X")


def describe_process(pid: int) -> str:
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        words = b""
    return f"{pid} {process_state(pid)} {words.decode(errors='replace')}"


def reap_orphans() -> None:
    """Takes the status of orphans that have ended; children that are ours to wait for are left."""
    ours = {process.pid for process in subprocess._active}  # pylint: disable=protected-access
    for pid in [p for p, parent in parents().items() if parent == os.getpid()]:
        if pid not in ours and pid not in known_children and process_state(pid) == "Z":
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)


known_children: set[int] = set()  # of Popen objects


def kill_all_below_us() -> None:
    while True:
        pids = [pid for pid in descendants(os.getpid()) if is_alive(pid)]
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        reap_orphans()


# ------------------------------------------------------------------------------- terminals


class Terminal:
    """A terminal with a user at it."""

    def __init__(self, rows: int = 24, columns: int = 80):
        self.master, self.slave = pty.openpty()
        self.output = b""
        self.resize(rows, columns)

    def close(self) -> None:
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)
        self.master = self.slave = -1

    def hang_up(self) -> None:
        """The user closes the window."""
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self) -> list:
        return termios.tcgetattr(self.slave)

    def is_raw(self) -> bool:
        return not self.modes()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def type(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        while data:
            data = data[os.write(self.master, data):]

    def read_more(self, seconds: float) -> bool:
        """Takes what has been shown since; False at the end or when nothing came."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
        self.output += data
        return bool(data)

    def expect(self, text: str | bytes, seconds: float = PATIENCE) -> bytes:
        """Waits until this is shown; returns and forgets all up to its end."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + seconds
        while wanted not in self.output:
            if time.monotonic() > deadline:
                raise AssertionError(f"{wanted!r} was not shown, but {self.output!r}")
            self.read_more(0.05)
        before, _, self.output = self.output.partition(wanted)
        return before + wanted

    def drain(self, seconds: float = 0.2) -> bytes:
        """All that is shown until nothing comes for a while."""
        while self.read_more(seconds):
            pass
        shown, self.output = self.output, b""
        return shown

    def start(self, command: list[str], **options) -> subprocess.Popen:
        """Runs a command with all standard streams here (unless the options say otherwise), leader
        of a session whose terminal this is."""
        slave = self.slave

        def sit_down():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        streams = {"stdin": slave, "stdout": slave, "stderr": slave}
        streams.update(options)
        process = subprocess.Popen(command, preexec_fn=sit_down, **streams)
        known_children.add(process.pid)
        return process


# ------------------------------------------------------------------------------- the test case


class TorporTest(unittest.TestCase):
    """A test with directories of its own. Processes that live on at its end make it fail, and are
    killed."""

    uid: int | None = None           # the user as whom torpor is run; None: as we are
    # Where user_command() runs things, see environment.c; any test can so be tried anywhere.
    environment_of_all: str | None = os.environ.get("TORPOR_TEST_ENVIRONMENT")
    allow_leftover_processes = False

    @classmethod
    def setUpClass(cls):
        become_subreaper()
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="torpor-test-"))
        cls.shared.chmod(0o755)
        cls.torpor_path = cls.reachable(os.environ["TORPOR"])

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared, ignore_errors=True)

    @classmethod
    def reachable(cls, program: str) -> str:
        """The path of a program, or of a copy where the user cannot get at the original."""
        test = as_user(cls.uid, ["test", "-x", program])
        if subprocess.run(test, check=False).returncode == 0:
            return program
        copy = cls.shared / pathlib.Path(program).name
        shutil.copy(program, copy)
        copy.chmod(0o755)
        return str(copy)

    def program(self, name: str) -> str:
        """The path of a test program."""
        return self.reachable(os.path.join(os.environ["TORPOR_PROGRAMS"], name))

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="test-", dir=self.shared))
        for name in ("run", "store", "tmp", "home"):
            (self.directory / name).mkdir(0o700)
        if self.uid is not None:
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, self.uid, self.uid)
        self.environment = dict(
            os.environ, XDG_RUNTIME_DIR=str(self.directory / "run"),
            TORPOR_DIR=str(self.directory / "store"), TMPDIR=str(self.directory / "tmp"),
            # The accounts that tests run as may have no shell to log in with.
            HOME=str(self.directory / "home"), LC_ALL="C.UTF-8", SHELL="/bin/sh",
            # Debian's own programs first: others may lie where an ordinary user cannot get at them.
            PATH="/usr/bin:/bin:/usr/sbin:/sbin:" + os.environ.get("PATH", ""))
        self.terminals: list[Terminal] = []
        self.processes: list[subprocess.Popen] = []

    def tearDown(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        for terminal in self.terminals:
            terminal.close()
        left = self.leftover_processes()
        kill_all_below_us()
        for process in self.processes:
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
            known_children.discard(process.pid)
        shutil.rmtree(self.directory, ignore_errors=True)
        if left and not self.allow_leftover_processes:
            self.fail("processes were left behind:\n" + "\n".join(left))

    def leftover_processes(self, seconds: float = 2.0) -> list[str]:
        """What still runs below us although nobody waits for it; it gets a moment to end."""
        deadline = time.monotonic() + seconds
        while True:
            reap_orphans()
            ours = {process.pid for process in self.processes}
            left = [describe_process(pid) for pid in descendants(os.getpid())
                    if pid not in ours and is_alive(pid)]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.02)

    def is_root(self) -> bool:
        """Torpor and the program run as root."""
        return self.uid is None and os.geteuid() == 0

    # --- running things

    def user_command(self, *words) -> list[str]:
        environment = self.environment_command(self.environment_of_all) if self.environment_of_all else []
        return as_user(self.uid, [*environment, *(str(word) for word in words)])

    def environment_command(self, letter: str) -> list[str]:
        """What to put before a command so that it runs where the kernel refuses something: see
        environment.c."""
        steady = pathlib.Path(os.environ["TORPOR_STEADY"])
        return [self.reachable(str(steady.with_name("environment"))), letter, "--"]

    def torpor_command(self, *words) -> list[str]:
        return self.user_command(self.torpor_path, *words)

    def start(self, command: list[str], **options) -> subprocess.Popen:
        settings = {"env": self.environment, "cwd": self.directory, "stdin": subprocess.DEVNULL,
                    "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        settings.update(options)
        process = subprocess.Popen(command, **settings)
        known_children.add(process.pid)
        self.processes.append(process)
        return process

    def start_torpor(self, *words, **options) -> subprocess.Popen:
        return self.start(self.torpor_command(*words), **options)

    def torpor(self, *words, timeout: float = 60, **options) -> subprocess.CompletedProcess:
        """Runs torpor to its end; stdout and stderr as text."""
        settings = {"env": self.environment, "cwd": self.directory, "stdout": subprocess.PIPE,
                    "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
        if "input" not in options:
            settings["stdin"] = subprocess.DEVNULL
        settings.update(options)
        return subprocess.run(self.torpor_command(*words), timeout=timeout, check=False, **settings)

    def torpor_ok(self, *words, **options) -> str:
        """The standard output of a run that has to succeed."""
        done = self.torpor(*words, **options)
        self.assertEqual(done.returncode, 0, f"torpor {words}: {done.stdout}{done.stderr}")
        return done.stdout

    def torpor_json(self, *words, **options):
        return json.loads(self.torpor_ok(*words, "--json", **options))

    def assert_fails(self, done: subprocess.CompletedProcess, status: int, *words: str) -> None:
        """It ended with this status, and said these words on stderr."""
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def computation(self, name: str | None = None) -> dict:
        """The line of `torpor ps`, of the only computation or of the named one, once it is there."""
        def look():
            found = [entry for entry in self.torpor_json("ps")
                     if name is None or entry["name"] == name]
            return found[0] if found and found[0]["pid"] > 0 else None
        return wait_until(look, f"computation {name or ''} is running")

    # --- terminals

    def terminal(self, **options) -> Terminal:
        terminal = Terminal(**options)
        if self.uid is not None:
            os.fchown(terminal.slave, self.uid, -1)
        self.terminals.append(terminal)
        return terminal

    def start_at(self, terminal: Terminal, command: list[str], **options) -> subprocess.Popen:
        settings = {"env": self.environment, "cwd": self.directory}
        settings.update(options)
        process = terminal.start(command, **settings)
        self.processes.append(process)
        return process

    def wait(self, process: subprocess.Popen, terminal: Terminal | None = None,
             seconds: float = PATIENCE) -> int:
        """Its exit status; -n for a signal. What a terminal shows meanwhile is taken."""
        deadline = time.monotonic() + seconds
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{describe_process(process.pid)} does not end")
            if terminal is None or not terminal.read_more(0.01):
                time.sleep(0.005)
        return process.returncode


def for_each_user(case):
    """Of a TorporTest: to be run as root and as an ordinary user; only as we are if we are not root."""
    module = sys.modules[case.__module__]
    variants = {"AsRoot": None, "AsUser": ORDINARY_UID} if os.geteuid() == 0 else {"AsUser": None}
    for suffix, uid in variants.items():
        name = case.__name__ + suffix
        setattr(module, name, type(name, (case,), {"uid": uid, "__module__": case.__module__}))
    return None  # the case itself is no test


def main() -> None:
    unittest.main(verbosity=2)
